//! One Kafka broker that is its own controller. It can be killed and started again on the same port and data.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::error::Result;
use super::jvm::{Jars, LOG_SETTINGS};
use super::process::{Folder, Service, free_ports};

/// A session of three seconds lets a broker that was killed come back at once; Kafka's nine make it wait. Whoever has no
/// access control list against him may do everything.
const SETTINGS: &str = "\
process.roles=broker,controller
node.id=1
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=true
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
group.min.session.timeout.ms=1000
group.initial.rebalance.delay.ms=0
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
log.cleaner.dedupe.buffer.size=4194304
";

pub struct Kafka {
    service: Service,
    settings: PathBuf,
    log_settings: PathBuf,
    heap: String,
    port: u16,
}

impl Kafka {
    /// Writes settings and the formatted storage, and starts the process; `wait_ready` waits for it.
    pub fn launch(jars: &Jars, folder: &Path, log_settings: &Path, heap: &str) -> Result<Kafka> {
        let [port, controller] = free_ports()?;
        let data = folder.join("kafka-data");
        fs::create_dir(&data)?;
        for entry in fs::read_dir(&jars.format)? {
            let entry = entry?;
            fs::copy(entry.path(), data.join(entry.file_name()))?;
        }
        let settings = folder.join("kafka.properties");
        let own = format!(
            "controller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             log.dirs={}\n",
            data.display()
        );
        fs::write(&settings, format!("{SETTINGS}{own}"))?;
        let service = Service::new("kafka", folder.join("kafka.log"));
        let kafka = Kafka { service, settings, log_settings: log_settings.into(), heap: heap.into(), port };
        kafka.start(jars)?;
        Ok(kafka)
    }

    pub fn start(&self, jars: &Jars) -> Result {
        let mut command = jars.java(&self.heap, &self.log_settings, "kafka.Kafka");
        command.arg(&self.settings);
        self.service.start(command)
    }

    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Ready means that it answers a metadata request as an unfenced broker.
    pub fn wait_ready(&self) -> Result {
        self.service.wait_ready(Duration::from_secs(90), || {
            // Asking the port first keeps the client library from complaining while nobody listens.
            std::net::TcpStream::connect(("127.0.0.1", self.port))?;
            let probe: BaseConsumer = ClientConfig::new()
                .set("bootstrap.servers", self.bootstrap())
                .set_log_level(rdkafka::config::RDKafkaLogLevel::Emerg)
                .create()?;
            Ok(!probe.fetch_metadata(None, Duration::from_secs(2))?.brokers().is_empty())
        })
    }

    pub fn kill(&self) -> Result {
        self.service.kill()
    }

    pub fn stop(&self) -> Result {
        self.service.stop("TERM", Duration::from_secs(30))
    }
}

/// A broker and nothing else, for benches. Dropped in order: the broker, then its folder.
pub struct Broker {
    kafka: Kafka,
    _folder: Folder,
}

impl Broker {
    pub fn start() -> Result<Broker> {
        let folder = Folder::create()?;
        let log_settings = folder.path().join("log4j2.properties");
        fs::write(&log_settings, LOG_SETTINGS)?;
        let kafka = Kafka::launch(&Jars::find()?, folder.path(), &log_settings, "1g")?;
        kafka.wait_ready()?;
        Ok(Broker { kafka, _folder: folder })
    }

    pub fn bootstrap(&self) -> String {
        self.kafka.bootstrap()
    }
}
