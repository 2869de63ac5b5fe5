//! The tables of the configuration: plain data, without the positions of the values.

use std::collections::BTreeMap;
use std::path::PathBuf;

use sagamore_gateway::Binding;
use serde::{Deserialize, Serialize};

/// Default maximum of unfinished sagas.
pub const SAGAS_MAX: usize = 20_000;

/// The values of all keys, after defaults, file and environment are merged.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tables {
    /// Prefix of topics, groups and schemas, so that environments can share brokers and database
    /// servers.
    pub namespace: String,
    /// Whether processes may listen on addresses that other hosts reach, without authentication: in
    /// a private network only.
    pub allow_unauthenticated: bool,
    /// Whether the program's choreography runs instead of its main story.
    pub choreography: bool,
    /// Saga files, and folders of them, that `serve` and `observe` load at their start.
    pub definitions: Vec<PathBuf>,
    /// The only addresses that gateways connect to; if empty, those of the participants' URLs.
    pub egress: Vec<String>,
    /// The table `[kafka]`.
    pub kafka: KafkaSettings,
    /// The database server of all processes without their own.
    pub postgres: PostgresSettings,
    /// The barriers of the services.
    pub barrier: BarrierSettings,
    /// The settings of `serve`.
    pub orchestrator: OrchestratorSettings,
    /// The settings of `observe`.
    pub observer: ObserverSettings,
    /// The services, by name: `[services.NAME]`.
    pub services: BTreeMap<String, ServiceSettings>,
    /// The bindings of participants, by name: `[participants.NAME]`.
    pub participants: BTreeMap<String, ParticipantSettings>,
    /// The settings of all gateways.
    pub gateway: GatewaySettings,
}

/// The settings of Apache Kafka.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaSettings {
    /// Addresses `host:port`, separated by commas.
    pub brokers: String,
    /// Replicas of new topics. If unset, the brokers' default applies.
    pub replication: Option<u16>,
    /// TLS to the brokers.
    pub tls: Option<TlsSettings>,
    /// SASL credentials, for brokers that require them.
    pub sasl: Option<SaslSettings>,
}

/// TLS files in PEM format.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSettings {
    /// Certificate authority of the server. If unset, the authorities that this machine trusts.
    pub ca: Option<PathBuf>,
    /// The client's certificate, for servers that require one.
    pub certificate: Option<PathBuf>,
    /// The key of the client's certificate.
    pub key: Option<PathBuf>,
}

/// The table `[kafka.sasl]`. Either the password or its file must be set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SaslSettings {
    /// `SCRAM-SHA-512`, `SCRAM-SHA-256` or `PLAIN`.
    pub mechanism: String,
    /// The user's name.
    pub username: String,
    /// The password in plain text. `config` hides it.
    pub password: Option<String>,
    /// A file with the password.
    pub password_file: Option<PathBuf>,
}

/// The table `[postgres]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresSettings {
    /// `postgres://user:password@host:port/database`.
    pub url: String,
    /// A file with the password, if the URL has none.
    pub password_file: Option<PathBuf>,
    /// TLS to the server.
    pub tls: Option<TlsSettings>,
}

/// The barrier rows, which make each step run once.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BarrierSettings {
    /// Minimum retention after the end of a saga, in days. It must exceed the retention of a
    /// command topic plus its dead letters. Orchestrators and services need the same value.
    pub retention_days: u64,
}

/// The settings of an orchestrator.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrchestratorSettings {
    /// The address of the HTTP API.
    pub listen: String,
    /// Addresses of the orchestrators for clients, separated by commas; if empty, the address
    /// above.
    pub servers: String,
    /// Partitions of the topic of replies, which limit the number of active orchestrators.
    pub partitions: u32,
    /// Time without renewal after which other orchestrators take over the sagas, in milliseconds,
    /// at most 3000.
    pub lease_ms: u64,
    /// Maximum unfinished sagas of one orchestrator. Further starts are rejected with 429.
    pub sagas_max: usize,
    /// Retention of journals after the end of a saga, in days.
    pub retention_days: u64,
}

/// The settings of the observer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObserverSettings {
    /// The address of the HTTP API.
    pub listen: String,
    /// Addresses of the observers for clients, separated by commas; if empty, the address above.
    pub servers: String,
    /// Partitions of each event's topic.
    pub partitions: u32,
    /// Whether the observer emits the overdue event to the pivot's owner, which then undoes an
    /// unfinished chain.
    pub tells_overdue: bool,
}

/// The settings of a service.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceSettings {
    /// The address of the service's HTTP API.
    pub listen: String,
    /// Partitions of the service's command topic, which limit the number of its active processes.
    pub partitions: u32,
    /// URL of the service's own database server, if it has one.
    pub url: Option<String>,
}

/// The binding of a participant.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParticipantSettings {
    /// `http` for a participant that a gateway calls, `kafka` for one that consumes its commands.
    pub protocol: String,
    /// The URL of every request.
    pub url: String,
    /// Time limit of a call, in milliseconds.
    pub timeout_ms: u64,
    /// Maximum concurrent calls.
    pub concurrency: usize,
    /// The keys that sign requests: `env:NAME` or `file:PATH` each, two during a rotation.
    pub secrets: Vec<String>,
    /// The authority and the client's certificate of an `https://` URL.
    pub tls: Option<TlsSettings>,
}

/// The settings of all gateways.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewaySettings {
    /// The keys of reply tokens: `env:NAME` or `file:PATH` each, two during a rotation. The first
    /// one signs.
    pub reply_secrets: Vec<String>,
}

impl Tables {
    /// Returns the defaults, with these services and participants.
    pub(super) fn of(
        services: BTreeMap<String, ServiceSettings>,
        participants: BTreeMap<String, ParticipantSettings>,
    ) -> Tables {
        Tables {
            namespace: String::new(),
            allow_unauthenticated: false,
            choreography: false,
            definitions: Vec::new(),
            egress: Vec::new(),
            kafka: KafkaSettings {
                brokers: "127.0.0.1:9092".into(),
                replication: None,
                tls: None,
                sasl: None,
            },
            postgres: PostgresSettings {
                url: "postgres://postgres@127.0.0.1:5432/sagamore".into(),
                password_file: None,
                tls: None,
            },
            barrier: BarrierSettings { retention_days: 30 },
            orchestrator: OrchestratorSettings {
                listen: "127.0.0.1:3000".into(),
                servers: String::new(),
                partitions: 12,
                lease_ms: 3_000,
                sagas_max: SAGAS_MAX,
                retention_days: 30,
            },
            observer: ObserverSettings {
                listen: "127.0.0.1:3005".into(),
                servers: String::new(),
                partitions: 12,
                tells_overdue: false,
            },
            services,
            participants,
            gateway: GatewaySettings::default(),
        }
    }
}

impl Default for ParticipantSettings {
    fn default() -> ParticipantSettings {
        ParticipantSettings {
            protocol: "http".into(),
            url: String::new(),
            timeout_ms: u64::try_from(Binding::TIMEOUT.as_millis()).expect("a short time"),
            concurrency: Binding::CONCURRENCY,
            secrets: Vec::new(),
            tls: None,
        }
    }
}
