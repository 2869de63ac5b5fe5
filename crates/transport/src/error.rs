//! What can go wrong with a transport.

/// A fault of the transport.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// It cannot be reached, or is shut down. Try again later.
    #[error("the transport is not available: {0}")]
    Unavailable(String),
    /// There is no such topic, or it has no such partition.
    #[error("{0}")]
    UnknownTopic(Unknown),
    /// The transport does not let this program do that.
    #[error("the brokers deny this program {operation} on {resource}: grant it to the user of this program")]
    Denied {
        /// The right that is missing, as an ACL names it: `WRITE`, `READ`, `DESCRIBE`, `CREATE`.
        operation: &'static str,
        /// On what.
        resource: Resource,
    },
    /// The record is larger than the transport takes.
    #[error("a record of {bytes} bytes for topic '{topic}' is larger than the {bytes_max} that are taken")]
    TooLarge {
        /// Where it was to go.
        topic: String,
        /// How large it is.
        bytes: usize,
        /// How large it may be.
        bytes_max: usize,
    },
    /// The transport takes other records of the topic, and not this one.
    #[error("a record for topic '{topic}' is rejected: {reason}")]
    Rejected {
        /// Where it was to go.
        topic: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The brokers would not take this name.
    #[error(transparent)]
    Name(#[from] sagamore_core::limits::UnfitName),
    /// The log has reached its size limit because a group does not keep up.
    #[error("the log is full: {0}")]
    Full(String),
    /// Another consumer of the group has taken over: this one gets nothing more.
    #[error("fenced: another consumer of group '{0}' has taken over")]
    Fenced(String),
    /// Another process works on the same data.
    #[error("{0}")]
    InUse(String),
    /// The data on disk is not what was written.
    #[error("the log is damaged: {0}")]
    Damaged(String),
}

/// What a right is granted on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Resource {
    /// A topic.
    #[error("topic '{0}'")]
    Topic(String),
    /// A group of consumers.
    #[error("group '{0}'")]
    Group(String),
    /// All of it.
    #[error("the cluster")]
    Cluster,
}

/// How much an error of one record says about the others, from little to all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Nothing: the record is rejected for its own sake.
    Record,
    /// The records of the same topic are rejected, too; those of other topics are not.
    Topic,
    /// The transport has failed. The record may have been published all the same.
    Transport,
}

/// What of a topic is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// The topic itself; create it first.
    #[error("there is no topic '{0}': create it with the verb `topics apply`")]
    Topic(String),
    /// A partition: the topic has fewer.
    #[error(
        "topic '{topic}' has no partition {partition}, only {partitions} of them, from 0 on: whoever named it was configured \
         with more. Compare the configuration with the topics: the verb `topics check`"
    )]
    Partition {
        /// The topic.
        topic: String,
        /// The one that was named.
        partition: u32,
        /// How many it has.
        partitions: u32,
    },
}

impl Error {
    /// There is no such topic.
    pub fn no_topic(topic: &str) -> Error {
        Error::UnknownTopic(Unknown::Topic(topic.to_owned()))
    }

    /// The right to do that on a topic is missing.
    pub fn denied_topic(operation: &'static str, topic: &str) -> Error {
        Error::Denied { operation, resource: Resource::Topic(topic.to_owned()) }
    }

    /// Whether trying again, later, may succeed. A right that is missing may be granted.
    pub fn is_transient(&self) -> bool {
        match self {
            Error::Unavailable(_) | Error::Full(_) | Error::Denied { .. } => true,
            Error::UnknownTopic(_) | Error::TooLarge { .. } | Error::Rejected { .. } => false,
            Error::Name(_) | Error::Fenced(_) | Error::InUse(_) | Error::Damaged(_) => false,
        }
    }

    /// Whether the transport rejects the record, and does so until a person or a sender changes something. Its command is
    /// set aside or backs off; the records of other topics go on.
    pub fn is_rejection(&self) -> bool {
        match self {
            Error::UnknownTopic(_) | Error::TooLarge { .. } | Error::Rejected { .. } => true,
            Error::Denied { resource, .. } => matches!(resource, Resource::Topic(_)),
            Error::Unavailable(_) | Error::Full(_) | Error::Fenced(_) => false,
            Error::Name(_) | Error::InUse(_) | Error::Damaged(_) => false,
        }
    }

    /// What the failure of a record means for the others that are published.
    pub fn scope(&self) -> Scope {
        match self {
            Error::TooLarge { .. } | Error::Rejected { .. } => Scope::Record,
            Error::UnknownTopic(_) | Error::Full(_) | Error::Name(_) => Scope::Topic,
            Error::Denied { resource: Resource::Topic(_), .. } => Scope::Topic,
            Error::Denied { resource: Resource::Group(_) | Resource::Cluster, .. } => Scope::Transport,
            Error::Unavailable(_) | Error::Fenced(_) | Error::InUse(_) | Error::Damaged(_) => Scope::Transport,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_with_fewer_partitions_is_not_told_to_be_made() {
        let unknown = Unknown::Partition { topic: "sagamore.replies".into(), partition: 6, partitions: 4 };
        let told = Error::UnknownTopic(unknown).to_string();
        assert!(told.contains("has no partition 6, only 4") && !told.contains("topics apply"), "{told}");
        assert!(Error::no_topic("order.commands").to_string().contains("topics apply"));
    }
}
