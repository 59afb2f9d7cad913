//! What was found: a check of something, how it ended, what was seen, why it matters, what mends it.
//!
//! Must not know: how anything was asked, how findings are printed.

/// How a check ended, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Pass,
    /// Nothing is wrong; it is good to know.
    Note,
    /// Nobody could say.
    Unknown,
    /// It can lose or change something, in some cases.
    Warn,
    /// It loses or changes something.
    Fail,
}

impl Level {
    pub fn name(self) -> &'static str {
        match self {
            Level::Pass => "PASS",
            Level::Note => "NOTE",
            Level::Unknown => "UNKNOWN",
            Level::Warn => "WARN",
            Level::Fail => "FAIL",
        }
    }
}

/// What a finding is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// Kafka, the registry, Kafka Connect: whether they answer.
    Access,
    /// By its name in the configuration.
    Connector(String),
    /// The database of that connector.
    Database(String),
    Topic(String),
}

/// What mends a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mend {
    /// A setting of the connector; `None` removes it.
    Setting { name: String, value: Option<String> },
    /// A request to Kafka Connect, its path below the interface's URL.
    Rest { method: &'static str, path: String },
    /// A statement for the database of the subject's connector.
    Sql(String),
    /// A setting of the topic.
    Topic { name: &'static str, value: String },
    /// A line of Evenkeel's own configuration.
    Ours(String),
    /// What no command can do.
    Advice(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub check: String,
    pub level: Level,
    pub saw: String,
    pub why: String,
    pub mends: Vec<Mend>,
}

impl Finding {
    pub fn new(check: impl Into<String>, level: Level, saw: impl Into<String>) -> Finding {
        Finding { check: check.into(), level, saw: saw.into(), why: String::new(), mends: Vec::new() }
    }

    pub fn pass(check: impl Into<String>, saw: impl Into<String>) -> Finding {
        Finding::new(check, Level::Pass, saw)
    }

    pub fn note(check: impl Into<String>, saw: impl Into<String>) -> Finding {
        Finding::new(check, Level::Note, saw)
    }

    pub fn warn(check: impl Into<String>, saw: impl Into<String>) -> Finding {
        Finding::new(check, Level::Warn, saw)
    }

    pub fn fail(check: impl Into<String>, saw: impl Into<String>) -> Finding {
        Finding::new(check, Level::Fail, saw)
    }

    /// Of what a placeholder of Kafka Connect hides, or nobody could be asked about.
    pub fn unknown(check: impl Into<String>, saw: impl Into<String>) -> Finding {
        Finding::new(check, Level::Unknown, saw)
    }

    #[must_use]
    pub fn why(mut self, why: impl Into<String>) -> Finding {
        self.why = why.into();
        self
    }

    #[must_use]
    pub fn mend(mut self, mend: Mend) -> Finding {
        self.mends.push(mend);
        self
    }

    /// It is mended by a setting of the connector.
    #[must_use]
    pub fn set(self, name: impl Into<String>, value: impl Into<String>) -> Finding {
        self.mend(Mend::Setting { name: name.into(), value: Some(value.into()) })
    }

    #[must_use]
    pub fn unset(self, name: impl Into<String>) -> Finding {
        self.mend(Mend::Setting { name: name.into(), value: None })
    }

    #[must_use]
    pub fn sql(self, sql: impl Into<String>) -> Finding {
        self.mend(Mend::Sql(sql.into()))
    }

    #[must_use]
    pub fn topic(self, name: &'static str, value: impl Into<String>) -> Finding {
        self.mend(Mend::Topic { name, value: value.into() })
    }

    #[must_use]
    pub fn ours(self, line: impl Into<String>) -> Finding {
        self.mend(Mend::Ours(line.into()))
    }

    #[must_use]
    pub fn advice(self, advice: impl Into<String>) -> Finding {
        self.mend(Mend::Advice(advice.into()))
    }
}

/// Everything that was found of one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chapter {
    pub subject: Subject,
    pub findings: Vec<Finding>,
}
