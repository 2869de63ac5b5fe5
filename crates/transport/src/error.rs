//! The errors of a transport.

/// An error of the transport.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The transport is unreachable or shut down. Retry later.
    #[error("the transport is not available: {0}")]
    Unavailable(String),
    /// The topic or the partition does not exist.
    #[error("{0}")]
    UnknownTopic(Unknown),
    /// The brokers deny this program the operation.
    #[error(
        "the brokers deny this program {operation} on {resource}: grant it to the program's user"
    )]
    Denied {
        /// The missing permission, as named by an ACL: `WRITE`, `READ`, `DESCRIBE`, `CREATE`.
        operation: &'static str,
        /// The resource of the missing permission.
        resource: Resource,
    },
    /// The record exceeds the transport's size limit.
    #[error("a record of {bytes} bytes for topic '{topic}' exceeds the limit of {bytes_max} bytes")]
    #[expect(missing_docs, reason = "the message names the fields")]
    TooLarge { topic: String, bytes: usize, bytes_max: usize },
    /// The transport rejects this record, but accepts others of the topic.
    #[error("a record for topic '{topic}' is rejected: {reason}")]
    #[expect(missing_docs, reason = "the message names the fields")]
    Rejected { topic: String, reason: String },
    /// The brokers would reject this name.
    #[error(transparent)]
    Name(#[from] sagamore_core::limits::UnfitName),
    /// The log has reached its size limit because a group lags behind.
    #[error("the log is full: {0}")]
    Full(String),
    /// Another consumer of the group has taken over. This one receives no more records.
    #[error("fenced: another consumer of group '{0}' has taken over")]
    Fenced(String),
    /// Another process uses the same data.
    #[error("{0}")]
    InUse(String),
    /// The data on disk differs from what was written.
    #[error("the log is damaged: {0}")]
    Damaged(String),
}

/// The resource of a permission.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Resource {
    /// A topic.
    #[error("topic '{0}'")]
    Topic(String),
    /// A consumer group.
    #[error("group '{0}'")]
    Group(String),
    /// The whole cluster.
    #[error("the cluster")]
    Cluster,
}

/// The scope of an error, from one record to the whole transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Only this record is rejected.
    Record,
    /// All records of the topic are rejected, those of other topics are not.
    Topic,
    /// The transport has failed. The record may nevertheless have been published.
    Transport,
}

/// The missing part of a topic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// The topic does not exist. Create it first.
    #[error("there is no topic '{0}': create it with `topics apply`")]
    Topic(String),
    /// The topic has fewer partitions.
    #[error(
        "topic '{topic}' has no partition {partition}, only {partitions} of them, from 0 on: the \
         sender was configured \
         with more. Compare the configuration with the topics: `topics check`"
    )]
    #[expect(missing_docs, reason = "the message names the fields")]
    Partition { topic: String, partition: u32, partitions: u32 },
}

impl Error {
    /// Returns the error of a topic that does not exist.
    pub fn no_topic(topic: &str) -> Error {
        Error::UnknownTopic(Unknown::Topic(topic.to_owned()))
    }

    /// Returns the error of a missing permission on a topic.
    pub fn denied_topic(operation: &'static str, topic: &str) -> Error {
        Error::Denied { operation, resource: Resource::Topic(topic.to_owned()) }
    }

    /// Returns whether a later retry may succeed. A missing permission may be granted in the
    /// meantime.
    pub fn is_transient(&self) -> bool {
        match self {
            Error::Unavailable(_) | Error::Full(_) | Error::Denied { .. } => true,
            Error::UnknownTopic(_) | Error::TooLarge { .. } | Error::Rejected { .. } => false,
            Error::Name(_) | Error::Fenced(_) | Error::InUse(_) | Error::Damaged(_) => false,
        }
    }

    /// Returns whether the transport rejects the record until an operator or the sender changes
    /// something. The caller sets its command aside or backs off, and continues with other topics.
    pub fn is_rejection(&self) -> bool {
        match self {
            Error::UnknownTopic(_) | Error::TooLarge { .. } | Error::Rejected { .. } => true,
            Error::Denied { resource, .. } => matches!(resource, Resource::Topic(_)),
            Error::Unavailable(_) | Error::Full(_) | Error::Fenced(_) => false,
            Error::Name(_) | Error::InUse(_) | Error::Damaged(_) => false,
        }
    }

    /// Returns the scope of a record's failure.
    pub fn scope(&self) -> Scope {
        match self {
            Error::TooLarge { .. } | Error::Rejected { .. } => Scope::Record,
            Error::UnknownTopic(_) | Error::Full(_) | Error::Name(_) => Scope::Topic,
            Error::Denied { resource: Resource::Topic(_), .. } => Scope::Topic,
            Error::Denied { resource: Resource::Group(_) | Resource::Cluster, .. } => {
                Scope::Transport
            }
            Error::Unavailable(_) | Error::Fenced(_) | Error::InUse(_) | Error::Damaged(_) => {
                Scope::Transport
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_partition_does_not_advise_to_create_the_topic() {
        let unknown =
            Unknown::Partition { topic: "sagamore.replies".into(), partition: 6, partitions: 4 };
        let told = Error::UnknownTopic(unknown).to_string();
        assert!(
            told.contains("has no partition 6, only 4") && !told.contains("topics apply"),
            "{told}"
        );
        assert!(Error::no_topic("order.commands").to_string().contains("topics apply"));
    }
}
