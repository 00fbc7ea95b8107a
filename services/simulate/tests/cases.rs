//! Each folder of `cases` is a command line with what it reads and what it prints: documentation that is run.
//!
//! `command` holds the arguments; `output` what is printed, and `warning` what is said beside it, or `error` what is said when it
//! fails.
//! `UPDATE_EXPECT=1 cargo test -p meridian-simulate` rewrites them; review the diff.

use std::{fs, path::Path, process::Command};

#[test]
fn every_case_prints_what_is_written_beside_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let mut cases: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|case| case.is_dir());
    cases.sort();
    assert!(cases.len() >= 90, "{} cases in {}", cases.len(), folder.display());
    let wrong: Vec<String> = cases.iter().filter_map(|case| check(case).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_readme_links_to_cases_that_are_there_and_to_every_one_that_prints_an_invoice() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let linked: Vec<&str> =
        readme.split("(cases/").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    let dead: Vec<_> = linked.iter().filter(|name| !root.join("cases").join(name).is_dir()).collect();
    assert!(dead.is_empty(), "links to no case: {dead:?}");
    let names = fs::read_dir(root.join("cases")).unwrap().map(|entry| entry.unwrap());
    let unlinked: Vec<String> = names
        .filter(|entry| entry.path().join("output").exists())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !linked.contains(&name.as_str()))
        .collect();
    assert!(unlinked.is_empty(), "cases that nobody finds: {unlinked:?}");
}

fn check(case: &Path) -> Result<(), String> {
    let command =
        fs::read_to_string(case.join("command")).map_err(|error| format!("{}: {error}", case.display()))?;
    let output = Command::new(env!("CARGO_BIN_EXE_meridian"))
        .args(command.split_whitespace())
        .current_dir(case)
        .output()
        .map_err(|error| error.to_string())?;
    let printed = match output.status.success() {
        true => [("output", output.stdout), ("warning", output.stderr), ("error", Vec::new())],
        false => [("output", output.stdout), ("warning", Vec::new()), ("error", output.stderr)],
    };
    for (name, found) in printed {
        let found = String::from_utf8(found).map_err(|error| error.to_string())?;
        let file = case.join(name);
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            fs::remove_file(&file).ok();
            if !found.is_empty() {
                fs::write(&file, &found).map_err(|error| error.to_string())?;
            }
        }
        let expected = fs::read_to_string(&file).unwrap_or_default();
        if expected != found {
            return Err(format!("{}: {name} is\n{found}\nand not\n{expected}", case.display()));
        }
    }
    Ok(())
}
