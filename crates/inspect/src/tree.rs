//! The values of a file with the place of each, from YAML or JSON.

mod json;
mod node;
pub(crate) mod yaml;

use crate::pointer::Pointer;
use crate::violation::{Finding, Violation};

pub(crate) use node::{Content, Member, Node};

use node::position;

/// A parsed file.
#[derive(Clone, Debug)]
pub(crate) struct Tree<'a> {
    source: &'a str,
    pub root: Node,
}

impl<'a> Tree<'a> {
    /// Parses YAML, or JSON.
    pub fn parse(source: &'a str) -> Result<Tree<'a>, Vec<Violation>> {
        // YAML reads most JSON, but not each escape of a text
        let is_json = source.trim_start().starts_with('{')
            && serde_json::from_str::<serde::de::IgnoredAny>(source).is_ok();
        if is_json { Tree::json(source) } else { Tree::yaml(source) }
    }

    /// Parses JSON only.
    pub fn json(source: &'a str) -> Result<Tree<'a>, Vec<Violation>> {
        let root = json::parse(source)?;
        Ok(Tree { source, root })
    }

    /// Parses YAML only.
    pub fn yaml(source: &'a str) -> Result<Tree<'a>, Vec<Violation>> {
        let root = yaml::parse(source).map_err(|violation| vec![violation])?;
        Ok(Tree { source, root })
    }

    /// Returns the text that spells a scalar, without the meaning that YAML gives it: `1.10`.
    pub fn spelling(&self, node: &Node) -> &'a str {
        self.source.get(node.spelled.clone()).unwrap_or_default()
    }

    /// Adds the position to each finding.
    pub fn violations(&self, findings: Vec<Finding>) -> Vec<Violation> {
        let placed = findings.into_iter().map(|finding| {
            let at = self.at(&finding.pointer, finding.of_key);
            Violation::new(finding, position(self.source, at))
        });
        Violation::bounded(placed.collect())
    }

    /// Returns where a value begins, or its key: a list or object in an object begins at its key.
    /// For a missing value this is the place of the innermost value that would contain it.
    fn at(&self, pointer: &Pointer, of_key: bool) -> usize {
        let (mut node, mut at) = (&self.root, self.root.at);
        for segment in pointer.segments() {
            match &node.content {
                Content::List(items) => {
                    let item = segment.parse().ok().and_then(|index: usize| items.get(index));
                    let Some(item) = item else { return at };
                    (node, at) = (item, item.at);
                }
                Content::Map(members) => {
                    let Some(member) = members.iter().find(|member| member.key == segment) else {
                        return at;
                    };
                    node = &member.value;
                    let nests = matches!(node.content, Content::List(_) | Content::Map(_));
                    at = if of_key || nests { member.at } else { node.at };
                }
                Content::Null | Content::Flag(_) | Content::Number(_) | Content::Text(_) => {
                    return at;
                }
            }
        }
        at
    }
}
