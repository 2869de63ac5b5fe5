//! The settings of the client library for each of its roles.

use rdkafka::ClientConfig;
use sagamore_transport::Error;

use crate::options::{Options, Security};

/// Maximum bytes of a record. The brokers' own limit is slightly above it.
pub(crate) const RECORD_BYTES_MAX: usize = 1_000_000;

/// Returns the settings of all roles.
pub(crate) fn common(options: &Options) -> Result<ClientConfig, Error> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &options.brokers).set("client.id", &options.client);
    config.set("socket.keepalive.enable", "true").set("socket.nagle.disable", "true");
    config.set("reconnect.backoff.ms", "50").set("reconnect.backoff.max.ms", "1000");
    config.set("log.connection.close", "false");
    config.set("topic.metadata.refresh.interval.ms", "30000").set("metadata.max.age.ms", "60000");
    secure(&mut config, &options.security)?;
    Ok(config)
}

/// Returns the settings of the shared idempotent producer: acknowledged records are in order and on
/// all in-sync replicas.
pub(crate) fn producer(options: &Options) -> Result<ClientConfig, Error> {
    let mut config = common(options)?;
    config.set("enable.idempotence", "true").set("acks", "all").set("linger.ms", "1");
    config.set("partitioner", "murmur2_random"); // the partitioner of Java's clients
    config.set("message.timeout.ms", ms(options.delivered_within));
    config.set("topic.metadata.propagation.max.ms", ms(options.delivered_within / 2));
    config.set("message.max.bytes", RECORD_BYTES_MAX.to_string());
    config
        .set("queue.buffering.max.messages", "200000")
        .set("queue.buffering.max.kbytes", "262144");
    Ok(config)
}

/// Returns the settings of a group's consumer, which starts at the earliest record and commits
/// explicitly.
pub(crate) fn consumer(options: &Options, group: &str) -> Result<ClientConfig, Error> {
    let mut config = common(options)?;
    config
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false");
    config.set("auto.offset.reset", "earliest").set("allow.auto.create.topics", "false");
    config.set("partition.assignment.strategy", "cooperative-sticky");
    config.set("session.timeout.ms", ms(options.session));
    config.set("heartbeat.interval.ms", ms(options.session / 5));
    config.set("queued.max.messages.kbytes", (options.prefetch_bytes / 1024).max(1).to_string());
    // one fetch is bounded like the buffer; the default is 50 MiB
    config.set("fetch.max.bytes", options.prefetch_bytes.max(RECORD_BYTES_MAX).to_string());
    config.set("check.crcs", "true"); // a damaged record is set aside and not read as another one
    config.set("statistics.interval.ms", "1000"); // for the lag
    // With many topics, a record may arrive just after a fetch was sent without its partition, and
    // waits for its answer. Measured: 3 of 100 orders waited 0.5 s, the default.
    config.set("fetch.wait.max.ms", "100");
    Ok(config)
}

fn ms(time: std::time::Duration) -> String {
    time.as_millis().to_string()
}

fn secure(config: &mut ClientConfig, security: &Security) -> Result<(), Error> {
    let Security { tls, sasl } = security;
    if !cfg!(feature = "tls") && (tls.is_some() || sasl.is_some()) {
        let why = "this program was built without TLS and SASL: rebuild it with `--features tls`";
        return Err(Error::Unavailable(why.to_owned()));
    }
    let protocol = match (tls, sasl) {
        (None, None) => return Ok(()),
        (Some(_), None) => "ssl",
        (Some(_), Some(_)) => "sasl_ssl",
        (None, Some(_)) => "sasl_plaintext",
    };
    config.set("security.protocol", protocol);
    if let Some(tls) = tls {
        config.set("ssl.endpoint.identification.algorithm", "https");
        let files = [
            ("ssl.ca.location", &tls.ca),
            ("ssl.certificate.location", &tls.certificate),
            ("ssl.key.location", &tls.key),
        ];
        for (setting, file) in files {
            if let Some(file) = file {
                config.set(setting, file.display().to_string());
            }
        }
    }
    if let Some(sasl) = sasl {
        config.set("sasl.mechanisms", &sasl.mechanism);
        config.set("sasl.username", &sasl.username).set("sasl.password", &sasl.password);
    }
    Ok(())
}
