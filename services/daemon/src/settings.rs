//! Configuration from environment variables and files, checked whole.
//!
//! A program reads all of its variables through one [`Settings`], which collects *every* problem and reports them
//! together, so that an operator fixes a bad install in one round. Secrets come back as [`SecretString`], which
//! prints as `[REDACTED]`.

use std::{collections::BTreeMap, fmt, net::SocketAddr, str::FromStr, time::Duration};

use secrecy::SecretString;

/// Variables as they were found, and the problems met while reading them.
///
/// A variable `NAME` may also be given as `NAME_FILE`, the path of a file that holds the value (a mounted Secret);
/// one trailing line break is dropped. `NAME` wins. An empty value counts as absent.
pub struct Settings {
    variables: BTreeMap<String, String>,
    problems: Vec<String>,
}

/// Every problem of a configuration, each naming its variable.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError {
    pub problems: Vec<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "incomplete configuration: {}", self.problems.join("; "))
    }
}

impl std::error::Error for ConfigError {}

impl Settings {
    /// The process environment.
    pub fn from_env() -> Self {
        Self::from_map(std::env::vars().collect())
    }

    /// Given variables, for tests.
    pub fn from_map(variables: BTreeMap<String, String>) -> Self {
        Self { variables, problems: Vec::new() }
    }

    /// A variable that has to be set. Absent: a problem, and an empty string to go on with.
    pub fn required(&mut self, name: &str) -> String {
        self.optional(name).unwrap_or_else(|| {
            self.problem(format!("{name} is not set"));
            String::new()
        })
    }

    pub fn optional(&mut self, name: &str) -> Option<String> {
        match self.variables.get(name) {
            Some(value) if !value.is_empty() => Some(value.clone()),
            _ => self.read_file(name),
        }
    }

    pub fn or(&mut self, name: &str, default: &str) -> String {
        self.optional(name).unwrap_or_else(|| default.to_owned())
    }

    /// A typed variable with a default. Text that does not parse is a problem, never the default in silence.
    pub fn parsed<T: FromStr>(&mut self, name: &str, default: T) -> T
    where
        T::Err: fmt::Display,
    {
        match self.optional(name) {
            None => default,
            Some(text) => self.parse(name, &text).unwrap_or(default),
        }
    }

    /// A typed variable that has to be set. `placeholder` is only what reading goes on with after a problem.
    pub fn required_parsed<T: FromStr>(&mut self, name: &str, placeholder: T) -> T
    where
        T::Err: fmt::Display,
    {
        match self.optional(name) {
            None => {
                self.problem(format!("{name} is not set"));
                placeholder
            }
            Some(text) => self.parse(name, &text).unwrap_or(placeholder),
        }
    }

    /// A duration in whole seconds; variables that hold one end in `_SECONDS`.
    pub fn seconds(&mut self, name: &str, default: u64) -> Duration {
        Duration::from_secs(self.parsed(name, default))
    }

    /// A duration in whole milliseconds; variables that hold one end in `_MS`.
    pub fn millis(&mut self, name: &str, default: u64) -> Duration {
        Duration::from_millis(self.parsed(name, default))
    }

    pub fn secret(&mut self, name: &str) -> SecretString {
        self.required(name).into()
    }

    pub fn optional_secret(&mut self, name: &str) -> Option<SecretString> {
        self.optional(name).map(Into::into)
    }

    /// Records a problem that the reader itself found, such as two variables that exclude each other.
    pub fn problem(&mut self, problem: String) {
        self.problems.push(problem);
    }

    /// The end of reading: fails once, with everything that was wrong.
    pub fn finish(self) -> Result<(), ConfigError> {
        if self.problems.is_empty() { Ok(()) } else { Err(ConfigError { problems: self.problems }) }
    }

    fn parse<T: FromStr>(&mut self, name: &str, text: &str) -> Option<T>
    where
        T::Err: fmt::Display,
    {
        match text.parse() {
            Ok(value) => Some(value),
            // The text itself is left out: it may be a secret that landed in the wrong variable.
            Err(error) => {
                self.problem(format!("{name} is not valid: {error}"));
                None
            }
        }
    }

    fn read_file(&mut self, name: &str) -> Option<String> {
        let path = self.variables.get(&format!("{name}_FILE")).filter(|path| !path.is_empty())?;
        match std::fs::read_to_string(path) {
            Ok(text) => {
                let text = text.strip_suffix('\n').unwrap_or(&text);
                (!text.is_empty()).then(|| text.to_owned())
            }
            Err(error) => {
                let problem = format!("{name}_FILE names {path}, which cannot be read: {error}");
                self.problem(problem);
                None
            }
        }
    }
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Json,
    Text,
}

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "json" => Ok(Self::Json),
            "text" => Ok(Self::Text),
            _ => Err("expected json or text"),
        }
    }
}

/// What every program of a region is told.
#[derive(Clone, Debug)]
pub struct Common {
    /// Name of the BillingRegion; `none` for programs that serve several (the operator).
    pub region: String,
    /// Residency label of the region, such as `eu-central-1`; on every record and log line.
    pub location: String,
    pub admin_listen: SocketAddr,
    /// A `tracing_subscriber::EnvFilter`, such as `info,sqlx=warn`.
    pub log: String,
    pub log_format: LogFormat,
    /// Base URL of an OTLP/HTTP collector; traces are sent only when it is set.
    pub otlp_endpoint: Option<String>,
    /// How long `main` may go on after SIGTERM; below the pod's termination grace period.
    pub shutdown_grace: Duration,
}

impl Common {
    pub(crate) fn read(settings: &mut Settings) -> Self {
        Self {
            region: settings.or("MERIDIAN_REGION", "none"),
            location: settings.or("MERIDIAN_LOCATION", "none"),
            admin_listen: settings.parsed("MERIDIAN_ADMIN_LISTEN", SocketAddr::from(([0, 0, 0, 0], 9090))),
            log: settings.or("MERIDIAN_LOG", "info"),
            log_format: settings.parsed("MERIDIAN_LOG_FORMAT", LogFormat::Json),
            otlp_endpoint: settings.optional("OTEL_EXPORTER_OTLP_ENDPOINT"),
            shutdown_grace: settings.seconds("MERIDIAN_SHUTDOWN_GRACE_SECONDS", 25),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        Settings::from_map(pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect())
    }

    #[test]
    fn every_problem_is_named_at_once() {
        let mut s = settings(&[("PORT", "many"), ("EMPTY", "")]);
        s.required("HOST");
        s.required("EMPTY");
        assert_eq!(s.parsed("PORT", 7u16), 7);
        let problems = s.finish().unwrap_err().problems;
        assert_eq!(problems.len(), 3);
        assert!(
            problems[0].contains("HOST") && problems[1].contains("EMPTY") && problems[2].contains("PORT")
        );
    }

    #[test]
    fn a_value_that_does_not_parse_is_never_echoed() {
        let mut s = settings(&[("PORT", "hunter2")]);
        s.parsed("PORT", 7u16);
        assert!(!s.finish().unwrap_err().to_string().contains("hunter2"));
    }

    #[test]
    fn a_file_gives_the_value_unless_the_variable_itself_does() {
        let file = std::env::temp_dir().join(format!("meridian-settings-{}", std::process::id()));
        std::fs::write(&file, "from-file\n").unwrap();
        let path = file.to_str().unwrap();
        assert_eq!(settings(&[("KEY_FILE", path)]).required("KEY"), "from-file");
        assert_eq!(settings(&[("KEY_FILE", path), ("KEY", "direct")]).required("KEY"), "direct");
        std::fs::remove_file(file).unwrap();
    }

    #[test]
    fn a_file_that_is_missing_is_a_problem() {
        let mut s = settings(&[("KEY_FILE", "/nonexistent/key")]);
        s.optional("KEY");
        assert!(s.finish().unwrap_err().to_string().contains("KEY_FILE"));
    }

    #[test]
    fn secrets_do_not_print() {
        let secret = settings(&[("KEY", "hunter2")]).secret("KEY");
        assert!(!format!("{secret:?}").contains("hunter2"));
    }
}
