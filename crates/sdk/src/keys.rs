//! The keys of commands. Commands that share a key keep their order within a chunk; the others may
//! interleave.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use sagamore_core::planted::{Bug, planted};
use sagamore_core::typed::Message;

type ReadKeys = dyn Fn(&dyn Any, &mut Vec<Key>) + Send + Sync;

/// The hash of a key. A collision only costs time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key(u64);

/// Functions that read keys from messages, by message type.
#[derive(Clone, Default)]
pub(crate) struct KeyReaders(HashMap<TypeId, Vec<Arc<ReadKeys>>>);

/// The keys of one command.
pub(crate) struct CommandKeys<'a> {
    readers: &'a KeyReaders,
    /// `None` if none of its messages has a key: it then conflicts with every command.
    found: Option<Vec<Key>>,
}

impl KeyReaders {
    /// Adds keys of the message type `M`.
    pub(crate) fn add<M: Message>(
        &mut self,
        keys: impl Fn(&M, &mut Vec<Key>) + Send + Sync + 'static,
    ) {
        let read = move |message: &dyn Any, found: &mut Vec<Key>| {
            if let Some(message) = message.downcast_ref() {
                keys(message, found);
            }
        };
        self.0.entry(TypeId::of::<M>()).or_default().push(Arc::new(read));
    }

    /// Returns whether no message has a key.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns an empty set of keys for the next command.
    pub(crate) fn of_command(&self) -> CommandKeys<'_> {
        CommandKeys { readers: self, found: None }
    }
}

impl CommandKeys<'_> {
    /// Adds the keys of a message that the handler receives.
    pub(crate) fn read<M: Message>(&mut self, message: &M) {
        for read in self.readers.0.get(&TypeId::of::<M>()).into_iter().flatten() {
            read(message, self.found.get_or_insert_default());
        }
    }

    pub(crate) fn found(self) -> Option<Vec<Key>> {
        self.found
    }
}

impl Key {
    pub(crate) fn of(key: &str) -> Key {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        Key(hasher.finish())
    }
}

/// Sorts commands, given by their keys, into waves. The commands of a wave share no key. A command
/// is in a later wave than all earlier ones with a common key. Without keys (`None`) it conflicts
/// with every command.
pub(crate) fn waves<'a>(commands: impl Iterator<Item = Option<&'a [Key]>>) -> Vec<Vec<usize>> {
    let mut waves: Vec<Vec<usize>> = Vec::new();
    let (mut after_all, mut after): (usize, HashMap<Key, usize>) = (0, HashMap::new());
    for (place, keys) in commands.enumerate() {
        let wave = match keys {
            None => waves.len(),
            Some(_) if planted(Bug::KeysIgnored) => after_all,
            Some(keys) => {
                keys.iter().filter_map(|key| after.get(key)).copied().fold(after_all, usize::max)
            }
        };
        match keys {
            None => after_all = wave + 1,
            Some(keys) => after.extend(keys.iter().map(|key| (*key, wave + 1))),
        }
        if wave == waves.len() {
            waves.push(Vec::new());
        }
        waves[wave].push(place);
    }
    waves
}

#[cfg(test)]
mod tests {
    use super::*;

    type Keys<'a> = Option<&'a [&'a str]>;

    #[test]
    fn commands_that_share_a_key_are_in_successive_waves() {
        let check = |commands: &[Keys<'_>], wanted: &[&[usize]]| {
            let keys: Vec<Option<Vec<Key>>> = commands
                .iter()
                .map(|keys| keys.map(|keys| keys.iter().map(|key| Key::of(key)).collect()))
                .collect();
            assert_eq!(waves(keys.iter().map(Option::as_deref)), wanted, "{commands:?}");
        };
        let (a, b, ab): (Keys<'_>, Keys<'_>, Keys<'_>) =
            (Some(&["a"]), Some(&["b"]), Some(&["a", "b"]));
        check(&[], &[]);
        check(&[a, b, a, a], &[&[0, 1], &[2], &[3]]);
        check(&[a, ab, b, a], &[&[0], &[1], &[2, 3]]);
        check(&[a, b, None, b, a], &[&[0, 1], &[2], &[3, 4]]);
        check(&[None, None, a], &[&[0], &[1], &[2]]);
        check(&[Some(&[]), a, Some(&[])], &[&[0, 1, 2]]);
    }
}
