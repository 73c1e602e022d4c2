//! `swiftcart-host dlq`: an operator and his dead letters. The work is the Kafka library's; here are questions, answers and exit codes.
//! Invariant: nothing is published or given up that was not shown first and agreed to.

mod output;

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use anyhow::{Context as _, ensure};
use serde_json::json;
use swiftcart_provider_kafka::dead_letter::{Desk, Fate, Letter, Operation, Report, State, fate};

use crate::config::{
    ChoiceArguments, DeadLetterArguments, DeadLetterCommand, DiscardArguments, ListArguments, OperatorArguments,
    ReplayArguments, ShowArguments,
};
use crate::manifest::SecretSource;

/// All was done, or there was nothing to do.
const DONE: u8 = 0;
/// Something was left undone.
const LEFT: u8 = 1;
/// Nothing was done.
const NOTHING_DONE: u8 = 2;

/// Carries the command out. Returns the process's exit code: 0 done, 1 something was left undone, 2 nothing was done.
///
/// # Errors
/// When nothing was done.
pub async fn run(arguments: &DeadLetterArguments, secrets: &dyn SecretSource) -> anyhow::Result<u8> {
    let desk = Desk::new(arguments.cluster.connection(secrets)?);
    match &arguments.command {
        DeadLetterCommand::List(list) => self::list(&desk, list).await,
        DeadLetterCommand::Show(show) => self::show(&desk, show).await,
        DeadLetterCommand::Replay(replay) => self::replay(&desk, replay).await,
        DeadLetterCommand::Discard(discard) => self::discard(&desk, discard).await,
    }
}

async fn list(desk: &Desk, arguments: &ListArguments) -> anyhow::Result<u8> {
    let filter = arguments.filter.filter(&arguments.states);
    let topics = if arguments.topics.is_empty() { desk.topics().await? } else { arguments.topics.clone() };
    let mut listed = Vec::new();
    for topic in &topics {
        let summary = desk.summarize(topic, &filter).await?;
        let letters = match arguments.each {
            Some(limit) => desk.select(topic, &filter, limit).await?.letters,
            None => Vec::new(),
        };
        listed.push((summary, letters));
    }
    if arguments.json {
        let topics = listed.iter().map(|(summary, letters)| output::summary_json(summary, letters)).collect::<Vec<_>>();
        say(&json!({ "topics": topics }).to_string())?;
    } else {
        for (summary, letters) in &listed {
            say(&output::summary_text(summary, letters))?;
        }
    }
    Ok(DONE)
}

async fn show(desk: &Desk, arguments: &ShowArguments) -> anyhow::Result<u8> {
    let filter =
        swiftcart_provider_kafka::dead_letter::Filter { offsets: vec![arguments.offset], ..Default::default() };
    let found = desk.select(&arguments.topic, &filter, 1).await?.letters.into_iter().next();
    let (partition, offset) = arguments.offset;
    let (letter, state) =
        found.with_context(|| format!("there is no letter {}/{partition}/{offset}", arguments.topic))?;
    if arguments.json {
        say(&output::whole_json(&letter, state, arguments.payload).to_string())?;
    } else {
        say(&output::whole_text(&letter, state, arguments.payload))?;
    }
    Ok(DONE)
}

async fn replay(desk: &Desk, arguments: &ReplayArguments) -> anyhow::Result<u8> {
    let states: &[State] = if arguments.include_parked { &[State::Open, State::Parked] } else { &[State::Open] };
    let Some((operation, letters)) = choose(desk, &arguments.choice, &arguments.operator, states).await? else {
        return Ok(DONE);
    };
    let mut fates = [0_usize; 3];
    let [going, parking, refused] = &mut fates;
    for (letter, _) in &letters {
        match fate(letter, arguments.max_replays) {
            Fate::Replay(_) => *going += 1,
            Fate::Park => *parking += 1,
            Fate::Refuse(_) => *refused += 1,
        }
    }
    let plan = format!(
        "{going} to be published again at {} a second, {parking} to be parked (replayed {} times already), {refused} that cannot be replayed",
        arguments.rate, arguments.max_replays
    );
    if let Some(code) = agreed(&plan, &letters, &arguments.choice, &arguments.operator)? {
        return Ok(code);
    }
    let report = desk.replay(&operation, letters, arguments.rate, arguments.max_replays).await?;
    tell(&report, &arguments.choice)
}

async fn discard(desk: &Desk, arguments: &DiscardArguments) -> anyhow::Result<u8> {
    let states = [State::Open, State::Parked];
    let Some((operation, letters)) = choose(desk, &arguments.choice, &arguments.operator, &states).await? else {
        return Ok(DONE);
    };
    let plan = format!("{} to be given up", letters.len());
    if let Some(code) = agreed(&plan, &letters, &arguments.choice, &arguments.operator)? {
        return Ok(code);
    }
    let report = desk.discard(&operation, letters).await?;
    tell(&report, &arguments.choice)
}

/// What is to be done, and with which letters; `None`: there are none, and that was said.
type Chosen = Option<(Operation, Vec<(Letter, State)>)>;

async fn choose(
    desk: &Desk,
    choice: &ChoiceArguments,
    operator: &OperatorArguments,
    states: &[State],
) -> anyhow::Result<Chosen> {
    ensure!(
        operator.dry_run || !operator.operator.trim().is_empty(),
        "nobody is named for the audit: set --operator (or the variable USER)"
    );
    let filter = choice.filter.filter(states);
    let selection = desk.select(&choice.topic, &filter, choice.limit).await?;
    if selection.left_out > 0 {
        tracing::warn!(
            left_out = selection.left_out,
            "more letters are meant than one run takes; run it again for the rest"
        );
    }
    if selection.letters.is_empty() {
        let none = json!({"topic": choice.topic, "selected": 0});
        say(&if choice.json { none.to_string() } else { format!("{}: no such letters; nothing to do", choice.topic) })?;
        return Ok(None);
    }
    let operation = Operation {
        topic: choice.topic.clone(),
        operator: operator.operator.trim().to_owned(),
        note: operator.note.clone(),
        filter,
    };
    Ok(Some((operation, selection.letters)))
}

/// Shows the plan, and asks where somebody can answer. An exit code: it ends here.
fn agreed(
    plan: &str,
    letters: &[(Letter, State)],
    choice: &ChoiceArguments,
    operator: &OperatorArguments,
) -> anyhow::Result<Option<u8>> {
    let plan = format!("{}: {} letters: {plan}", choice.topic, letters.len());
    if operator.dry_run {
        let shown = json!({"topic": choice.topic, "selected": letters.len(), "plan": plan, "letters": output::letters_json(letters)});
        say(&if choice.json {
            shown.to_string()
        } else {
            format!("{}{plan}; a dry run: nothing was done", output::letters_text(letters))
        })?;
        return Ok(Some(DONE));
    }
    if operator.yes {
        return Ok(None);
    }
    eprintln!("{}{plan}", output::letters_text(letters));
    if !std::io::stdin().is_terminal() {
        eprintln!("nothing was done: there is nobody to ask, so say --yes (or --dry-run)");
        return Ok(Some(NOTHING_DONE));
    }
    eprint!("go on? [y/N] ");
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).context("reading the answer")?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(None);
    }
    eprintln!("nothing was done");
    Ok(Some(NOTHING_DONE))
}

fn tell(report: &Report, choice: &ChoiceArguments) -> anyhow::Result<u8> {
    say(&if choice.json {
        output::report_json(report, &choice.topic).to_string()
    } else {
        output::report_text(report, &choice.topic)
    })?;
    Ok(if report.failure.is_some() || !report.refused.is_empty() { LEFT } else { DONE })
}

/// One text to standard output.
fn say(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()).context("writing to standard output")
}
