//! `meridian`: the command line of developers and finance people. It talks to nobody.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};
use meridian_simulate::{catalogue_file::Catalogue, periods, report, run, usage_file};
use serde_json::Value;

/// Usage-based billing, without a cluster.
#[derive(Parser)]
#[command(name = "meridian", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// What a catalogue would bill for some usage, by the same rating as in a region.
    Simulate(Simulate),
}

#[derive(Args)]
struct Simulate {
    /// YAML documents as applied to Kubernetes: a Plan, its Meters, perhaps a Subscription
    #[arg(
        short = 'f',
        long = "file",
        value_name = "FILE",
        required_unless_present = "plan",
        conflicts_with = "plan"
    )]
    file: Option<PathBuf>,
    /// One Plan: its document or its spec
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// JSON: a list of {meter, quantity}, {meter, events: [{time, properties}]} or {meter, buckets: [{start, value}]}
    #[arg(long, value_name = "FILE")]
    usage: PathBuf,
    /// The one period to bill, as two instants of RFC 3339; of a Subscription: those of its periods that lie within
    #[arg(long, value_name = "START/END")]
    period: Option<String>,
    /// How to print
    #[arg(short = 'o', long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    Json,
    Table,
}

fn main() -> ExitCode {
    let Cli { command: Command::Simulate(arguments) } = Cli::parse();
    match simulate(&arguments) {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("meridian simulate: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn simulate(arguments: &Simulate) -> anyhow::Result<String> {
    let catalogue = match (&arguments.file, &arguments.plan) {
        (Some(file), _) => Catalogue::read(yaml(file)?).with_context(|| file.display().to_string())?,
        (None, Some(plan)) => {
            let document = yaml(plan)?.into_iter().next().unwrap_or_default();
            Catalogue::of_plan(document).with_context(|| plan.display().to_string())?
        }
        (None, None) => anyhow::bail!("give -f or --plan"),
    };
    let text = read(&arguments.usage)?;
    let usage =
        usage_file::read(&text, &catalogue.meters).with_context(|| arguments.usage.display().to_string())?;
    let only = arguments.period.as_deref().map(periods::parse).transpose()?;
    let periods = periods::billed(&catalogue, &usage, only, jiff::Timestamp::now())?;
    let simulation = run::simulate(&catalogue, &usage, &periods)?;
    if simulation.outside > 0 {
        eprintln!(
            "meridian simulate: {} events or buckets lie outside the periods that are billed",
            simulation.outside
        );
    }
    for sentence in catalogue.passed_over.iter().chain(&simulation.unbilled) {
        eprintln!("meridian simulate: {sentence}");
    }
    match arguments.output {
        Output::Json => Ok(format!("{:#}\n", report::to_json(&simulation))),
        Output::Table => Ok(report::to_table(&simulation)),
    }
}

fn yaml(path: &PathBuf) -> anyhow::Result<Vec<Value>> {
    serde_saphyr::from_multiple(&read(path)?).with_context(|| path.display().to_string())
}

fn read(path: &PathBuf) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}
