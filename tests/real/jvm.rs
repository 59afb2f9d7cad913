//! Where the installed jars and other parts are, and how a Java program of them is started: small, quick to start, its log
//! settings in the stack's folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::error::{Error, Result};
use super::process::User;

/// What install.sh put into the cache folder. The script alone knows the names.
pub struct Jars {
    pub lib: PathBuf,
    pub plugins: PathBuf,
    /// Kafka's log folder as formatting leaves it.
    pub format: PathBuf,
    /// Apicurio's registry, and its converter as a plugin.
    pub registry: PathBuf,
    /// Node's modules: AsyncAPI's parser.
    pub modules: PathBuf,
    /// Python, with what the consumer imports.
    pub python: PathBuf,
    /// A MySQL server, where one could be had.
    pub mysql: PathBuf,
}

impl Jars {
    pub fn find() -> Result<Jars> {
        let output = Command::new("sh").args(["tests/real/install.sh", "--where"]).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut lines = text.lines().map(PathBuf::from);
        let mut next = || lines.next().filter(|_| output.status.success());
        match (next(), next(), next(), next(), next(), next(), next()) {
            (Some(lib), Some(plugins), Some(format), Some(registry), Some(modules), Some(python), Some(mysql)) => {
                Ok(Jars { lib, plugins, format, registry, modules, python, mysql })
            }
            _ => Err(Error::new("the real stack is not installed: run tests/real/install.sh")),
        }
    }

    /// `main_class` with its arguments to be added.
    pub fn java(&self, heap: &str, log_settings: &Path, main_class: &str) -> Command {
        let mut command = self.java_alone(heap);
        command.arg(format!("-Dlog4j2.configurationFile={}", log_settings.display()));
        command.arg("-cp").arg(self.lib.join("*")).arg(main_class);
        command
    }

    /// Without a program.
    pub fn java_alone(&self, heap: &str) -> Command {
        let java =
            std::env::var_os("JAVA_HOME").map_or(PathBuf::from("java"), |home| Path::new(&home).join("bin/java"));
        let mut command = User::OURS.command(&java, "KILL");
        command.arg(format!("-Xmx{heap}"));
        // Starting quickly matters more here than running fast later.
        command.args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-Duser.timezone=UTC"]);
        command
    }
}

pub const LOG_SETTINGS: &str = "\
status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{HH:mm:ss.SSS} %-5p %c{1} %m%n
rootLogger.level = info
rootLogger.appenderRef.out.ref = out
logger.clients.name = org.apache.kafka.clients
logger.clients.level = error
logger.config.name = org.apache.kafka.common.config
logger.config.level = error
";
