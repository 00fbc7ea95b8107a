//! The command line of the official `clickhouse-server`, as far as an orchestrator uses it.

use std::path::PathBuf;

pub const USAGE: &str = "usage: clickhouse-server [--config-file=FILE] [-- --path=DIRECTORY --logger.level=LEVEL --KEY=VALUE…]
  --config-file=FILE   default /etc/clickhouse-server/config.xml; FILE's neighbours config.d/ and users.d/ are merged
  --logger.level=LEVEL default warning (after --)
  --path=DIRECTORY     the data, default /var/lib/clickhouse (after --, as every override of the configuration)
environment: CLICKHOUSE_LIBRARY, the engine, default /usr/lib/clickhouse/libchdb.so";

#[derive(Debug, PartialEq)]
pub enum Request {
    Serve(Serve),
    Version,
}

#[derive(Debug, PartialEq)]
pub struct Serve {
    pub config_file: PathBuf,
    pub data_path: PathBuf,
    pub library: PathBuf,
    /// The engine in the library takes this from its command line only and ignores the XML's `logger.level`.
    pub log_level: String,
    /// What came after `--` and is not one of the above: `--http_port=18123`.
    pub overrides: Vec<String>,
}

pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Request, String> {
    let mut serve = Serve {
        config_file: PathBuf::from("/etc/clickhouse-server/config.xml"),
        data_path: PathBuf::from("/var/lib/clickhouse"),
        library: std::env::var_os("CLICKHOUSE_LIBRARY")
            .map_or_else(|| PathBuf::from("/usr/lib/clickhouse/libchdb.so"), PathBuf::from),
        log_level: "warning".to_owned(),
        overrides: Vec::new(),
    };
    let mut rest = arguments.into_iter();
    while let Some(argument) = rest.next() {
        match argument.split_once('=') {
            Some(("--config-file" | "--config" | "-C", file)) => serve.config_file = PathBuf::from(file),
            None if matches!(argument.as_str(), "--config-file" | "--config" | "-C") => {
                serve.config_file = rest.next().ok_or("--config-file needs a file")?.into();
            }
            None if matches!(argument.as_str(), "--version" | "-V") => return Ok(Request::Version),
            None if argument == "--" => break,
            _ => return Err(format!("unknown argument {argument:?}")),
        }
    }
    for argument in rest {
        match argument.split_once('=') {
            Some(("--path", path)) => serve.data_path = PathBuf::from(path),
            Some(("--logger.level", level)) => serve.log_level = level.to_owned(),
            Some((key, _)) if key.starts_with("--") => serve.overrides.push(argument),
            _ => return Err(format!("{argument:?} after -- is not of the form --key=value")),
        }
    }
    Ok(Request::Serve(serve))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serve(arguments: &[&str]) -> Serve {
        match parse(arguments.iter().map(ToString::to_string)) {
            Ok(Request::Serve(serve)) => serve,
            other => panic!("{arguments:?} gave {other:?}"),
        }
    }

    #[test]
    fn the_official_command_line_is_understood() {
        let told =
            serve(&["--config-file=/c/x.xml", "--", "--path=/d", "--logger.level=debug", "--http_port=1"]);
        assert_eq!(told.config_file, PathBuf::from("/c/x.xml"));
        assert_eq!(told.data_path, PathBuf::from("/d"));
        assert_eq!(told.log_level, "debug");
        assert_eq!(told.overrides, ["--http_port=1"]);
        assert_eq!(serve(&["-C", "/c/y.xml"]).config_file, PathBuf::from("/c/y.xml"));
    }

    #[test]
    fn without_arguments_the_official_paths_are_used() {
        let told = serve(&[]);
        assert_eq!(told.config_file, PathBuf::from("/etc/clickhouse-server/config.xml"));
        assert_eq!(told.data_path, PathBuf::from("/var/lib/clickhouse"));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for wrong in [&["--daemon"][..], &["local"], &["--config-file"], &["--", "path"], &["--path=/early"]]
        {
            assert!(parse(wrong.iter().map(ToString::to_string)).is_err(), "{wrong:?} was accepted");
        }
    }
}
