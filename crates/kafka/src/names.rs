//! Names with and without namespace. On the brokers, a namespace prefixes every topic and group.

use std::borrow::Cow;
use std::sync::Arc;

/// A topic, by its name without namespace, and a partition.
pub(crate) type Key = (Arc<str>, u32);

/// The prefix with its dot; empty without a namespace.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    prefix: String,
}

impl Names {
    pub fn in_namespace(namespace: Option<&str>) -> Names {
        Names {
            prefix: namespace
                .filter(|name| !name.is_empty())
                .map(|name| format!("{name}."))
                .unwrap_or_default(),
        }
    }

    /// Returns the name on the brokers. A name with the prefix is returned unchanged, because it
    /// came from a header.
    pub fn there<'a>(&self, name: &'a str) -> Cow<'a, str> {
        if name.starts_with(&self.prefix) {
            Cow::Borrowed(name)
        } else {
            Cow::Owned(format!("{}{name}", self.prefix))
        }
    }

    /// Returns the name without namespace; `None` for names of another namespace.
    pub fn here<'a>(&self, name: &'a str) -> Option<&'a str> {
        name.strip_prefix(&self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_added_once_and_removed_again() {
        let (staging, none) = (Names::in_namespace(Some("staging")), Names::in_namespace(None));
        assert_eq!(staging.there("payment.commands"), "staging.payment.commands");
        assert_eq!(staging.there("staging.sagamore.replies"), "staging.sagamore.replies");
        assert_eq!(staging.here("staging.payment.commands"), Some("payment.commands"));
        assert_eq!(staging.here("payment.commands"), None);
        assert_eq!((none.there("a").as_ref(), none.here("a")), ("a", Some("a")));
    }
}
