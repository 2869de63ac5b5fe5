//! Help texts of all metrics, for the `# HELP` lines of `/metrics` and for `docs/metrics.md`.

use std::fmt::Write as _;

use metrics::{describe_counter, describe_gauge, describe_histogram};

/// Metrics that only grow.
const COUNTERS: &[(&str, &str)] = &[
    ("sagamore_barrier_total", "Verdicts of participants' barriers, by case."),
    ("sagamore_commands_total", "Commands that turns decided to send, resends included."),
    (
        "sagamore_dropped_replies_total",
        "Replies to a blocked saga that is no longer in memory: its command is resent.",
    ),
    ("sagamore_ended_total", "Sagas that ended, by state."),
    ("sagamore_forgotten_total", "Rows of ended sagas that were removed after the retention."),
    (
        "sagamore_gateway_calls_total",
        "Commands that a gateway has handled, by participant and outcome.",
    ),
    (
        "sagamore_ignored_total",
        "Inputs that changed nothing, by reason: late and repeated replies, for example.",
    ),
    (
        "sagamore_kafka_consumers_reopened_total",
        "Consumers that fetched no records although some exist, and were reopened.",
    ),
    (
        "sagamore_kafka_marks_of_others_total",
        "Offsets that were not committed because their partition had been revoked.",
    ),
    (
        "sagamore_kafka_rejoins_total",
        "Times that a consumer joined its group again because a partition had no member.",
    ),
    (
        "sagamore_kafka_partitions_revoked_total",
        "Partitions that consumer groups revoked from this process.",
    ),
    (
        "sagamore_kafka_producers_replaced_total",
        "Producers that were replaced after a fatal error.",
    ),
    ("sagamore_kafka_published_total", "Records that the brokers acknowledged."),
    (
        "sagamore_kafka_unreadable_total",
        "Records that the Kafka client could not read: set aside as dead letters.",
    ),
    (
        "sagamore_live_evicted_total",
        "Sagas that were removed from memory because it was full: they are read again when needed.",
    ),
    ("sagamore_log_batches_total", "Batches that were appended to the embedded log."),
    ("sagamore_log_records_total", "Records that were appended to the embedded log."),
    ("sagamore_log_syncs_total", "Syncs of the embedded log."),
    ("sagamore_lost_dead_letters_total", "Dead letters that the transport rejects in every form."),
    (
        "sagamore_observer_unreadable_total",
        "Stored chains and events that the observer cannot read.",
    ),
    ("sagamore_observer_unsent_total", "Records of the observer that the transport rejects."),
    (
        "sagamore_participant_conflicts_total",
        "Transactions of a service that were repeated after a conflict in the database.",
    ),
    ("sagamore_participant_dead_letters_total", "Records that a service rejected as dead letters."),
    ("sagamore_participant_faults_total", "Handlers that failed with a fault, by service."),
    (
        "sagamore_participant_lost_dead_letters_total",
        "Dead letters of a service that the transport rejects in every form.",
    ),
    (
        "sagamore_participant_messages_total",
        "Commands and events that a service has handled, by outcome.",
    ),
    ("sagamore_participant_panics_total", "Handlers that panicked, by service."),
    (
        "sagamore_participant_swept_total",
        "Steps that a service's barrier has removed after the retention.",
    ),
    ("sagamore_participant_timeouts_total", "Handlers that exceeded their time limit, by service."),
    (
        "sagamore_participant_unreadable_horizons_total",
        "Retention notices that a service cannot read and ignores.",
    ),
    ("sagamore_partitions_gained_total", "Reply partitions that this orchestrator has claimed."),
    ("sagamore_rejected_events_total", "Events that change no chain, by reason: see docs/wire.md."),
    (
        "sagamore_rejected_replies_total",
        "Replies that change no saga and became dead letters, by reason: see docs/wire.md.",
    ),
    ("sagamore_resent_total", "Commands that were sent again after a takeover."),
    (
        "sagamore_revision_conflicts_total",
        "Sagas that another orchestrator had changed first and that were decided again.",
    ),
    (
        "sagamore_sagas_set_aside_total",
        "Sagas that were set aside because this program cannot read them.",
    ),
    ("sagamore_swept_total", "Journals that were removed after the retention."),
    (
        "sagamore_unreadable_announcements_total",
        "Announcements of participants that a reader cannot read and skips.",
    ),
    ("sagamore_unreadable_rows_total", "Stored events that a service cannot read, by table."),
    ("sagamore_unreadable_verbs_total", "Operators' verbs that this program cannot read."),
    (
        "sagamore_unsendable_total",
        "Events that begin chains and that the transport rejects, by service.",
    ),
    ("sagamore_unsent_total", "Commands that the transport rejected."),
    (
        "sagamore_unstored_total",
        "Failed attempts to store a saga, where the saga itself is the cause.",
    ),
];

/// Metrics that rise and fall.
const GAUGES: &[(&str, &str)] = &[
    ("sagamore_chains", "Chains by status."),
    (
        "sagamore_horizon_age_seconds",
        "Age of the oldest saga whose rows services must retain; at most the database's own age.",
    ),
    (
        "sagamore_kafka_stalled_partitions",
        "Partitions that have records and do not advance, by group.",
    ),
    ("sagamore_live_bytes", "Bytes of the sagas in memory."),
    ("sagamore_live_sagas", "Sagas in memory."),
    ("sagamore_log_bytes", "Bytes of the embedded log."),
    ("sagamore_log_segments", "Segments of the embedded log."),
    ("sagamore_log_unsynced_bytes", "Bytes of the embedded log that a power cut would lose."),
    (
        "sagamore_observer_horizon_names",
        "Unfinished chains that the horizon lists by name so that services can remove the others.",
    ),
    ("sagamore_observer_lag", "Events that the observer has not read."),
    ("sagamore_oldest_outstanding_step_seconds", "Age of the oldest outstanding command."),
    (
        "sagamore_open_faults",
        "Sagas with a fault that an operator can decide: see `list --open-faults`.",
    ),
    ("sagamore_gateway_in_flight", "Running calls of a participant."),
    ("sagamore_gateway_lag", "Commands that a gateway has not handled."),
    ("sagamore_participant_lag", "Commands that a service has not handled."),
    ("sagamore_partitions_owned", "Reply partitions that this orchestrator owns."),
    (
        "sagamore_partitions_taken_over",
        "Reply partitions whose sagas have not been read yet after a takeover.",
    ),
    ("sagamore_publishes_fail", "1 while this orchestrator's publishes fail."),
    ("sagamore_replies_lag", "Replies that this orchestrator has not handled."),
    ("sagamore_sagas", "Unfinished sagas by state."),
    ("sagamore_sagas_in_flight", "Sagas that have not ended."),
    (
        "sagamore_swept_age_seconds",
        "Maximum age of a participant's barrier rows; at most the database's own \
         age.",
    ),
    ("sagamore_unreadable_sagas", "Sagas that are set aside because no owner could read them."),
    (
        "sagamore_unstored_sagas",
        "Sagas that cannot be stored now: their rows are locked, for example.",
    ),
];

/// Metrics with a distribution.
const HISTOGRAMS: &[(&str, &str)] = &[
    ("sagamore_gateway_call_seconds", "Duration of a participant's call."),
    ("sagamore_participant_chunk_size", "Messages in one transaction of a service."),
    ("sagamore_turn_inputs", "Inputs of one turn of the orchestrator."),
    ("sagamore_turn_sagas", "Sagas that one turn of the orchestrator stored."),
];

/// Describes all metrics to the recorder of this process.
pub fn describe() {
    COUNTERS.iter().for_each(|(name, help)| describe_counter!(*name, *help));
    GAUGES.iter().for_each(|(name, help)| describe_gauge!(*name, *help));
    HISTOGRAMS.iter().for_each(|(name, help)| describe_histogram!(*name, *help));
}

/// Returns `docs/metrics.md`: one table for each kind of metric.
pub fn markdown(program: &str) -> String {
    let mut page = format!(
        "# Metrics\n\n\
         Generated by `{program} docs metrics`; do not edit.\n\n\
         `GET /metrics` of each process returns the metrics of that process in the Prometheus \
         format.\n\
         [Operate](operate.md#alarms) lists those to alarm on.\n",
    );
    for (kind, metrics) in [("Counters", COUNTERS), ("Gauges", GAUGES), ("Histograms", HISTOGRAMS)]
    {
        let _ = write!(page, "\n## {kind}\n\n| name | meaning |\n|---|---|\n");
        for (name, help) in metrics {
            let _ = writeln!(page, "| `{name}` | {} |", help.trim_end_matches('.'));
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// Compares the described names with the names in the source of all crates.
    #[test]
    fn every_metric_has_a_help_text() {
        let mut measured = BTreeSet::new();
        find(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."), &mut measured);
        let described = [COUNTERS, GAUGES, HISTOGRAMS].concat();
        let described: BTreeSet<String> =
            described.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(measured, described);
    }

    fn find(folder: &Path, names: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                find(&path, names);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && !path.ends_with("metrics_help.rs")
            {
                let text = std::fs::read_to_string(&path).expect("a source file");
                let quoted = text.split('"').filter(|text| text.starts_with("sagamore_"));
                let is_name = |text: &&str| {
                    text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
                };
                if text.contains("metrics::") {
                    names.extend(quoted.filter(is_name).map(str::to_owned));
                }
            }
        }
    }
}
