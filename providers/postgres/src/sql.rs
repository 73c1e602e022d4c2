//! What can be said about a statement from its text alone: whether it may run inside our transaction, and whether it can write.
//! Both answers err on the safe side: a statement counts as writing unless it surely is not.

use crate::error::Error;

/// First words that would end our transaction, outlive it, or leave the protocol that we speak.
const REFUSED: [&str; 25] = [
    "abort",
    "begin",
    "call",
    "checkpoint",
    "close",
    "commit",
    "copy",
    "deallocate",
    "declare",
    "discard",
    "do",
    "end",
    "execute",
    "fetch",
    "listen",
    "load",
    "move",
    "prepare",
    "release",
    "reset",
    "rollback",
    "savepoint",
    "set",
    "start",
    "unlisten",
];

/// First words of statements that only read, unless one of [`WRITING`] follows.
const READING: [&str; 4] = ["select", "table", "values", "with"];

/// Words that make a statement a writing one wherever they stand: even inside a literal, for that errs on the safe side.
const WRITING: [&str; 14] = [
    "alter", "create", "delete", "drop", "execute", "grant", "insert", "into", "merge", "nextval", "refresh", "setval",
    "truncate", "update",
];

/// Refuses a text that cannot be sent or that would break "one call is one transaction".
pub(crate) fn check(sql: &str, index: usize) -> Result<(), Error> {
    if sql.contains('\0') {
        return Err(Error::Invalid(format!("statement {index}: the text contains a NUL character")));
    }
    let word = first_word(sql).to_ascii_lowercase();
    if word.is_empty() {
        return Err(Error::Invalid(format!("statement {index}: the text is empty")));
    }
    if REFUSED.contains(&word.as_str()) {
        let word = word.to_ascii_uppercase();
        return Err(Error::Invalid(format!("statement {index}: {word} is not allowed, one call is one transaction")));
    }
    Ok(())
}

/// Whether the statement can be trusted to change nothing. A function of your own that writes must not be called from a plain SELECT:
/// that would be taken for reading here, and a lost connection would be reported as `Unavailable`.
pub(crate) fn only_reads(sql: &str) -> bool {
    READING.contains(&first_word(sql).to_ascii_lowercase().as_str())
        && !words(sql).any(|word| WRITING.iter().any(|writing| word.eq_ignore_ascii_case(writing)))
}

fn words(sql: &str) -> impl Iterator<Item = &str> {
    sql.split(|character: char| !character.is_alphanumeric() && character != '_').filter(|word| !word.is_empty())
}

/// The first word after white space, comments and opening parentheses.
fn first_word(sql: &str) -> &str {
    let mut rest = sql;
    loop {
        rest = rest
            .trim_start_matches(|character: char| character.is_whitespace() || character == '(' || character == ';');
        if let Some(comment) = rest.strip_prefix("--") {
            rest = comment.find('\n').and_then(|end| comment.get(end..)).unwrap_or_default();
        } else if rest.starts_with("/*") {
            rest = after_comment(rest);
        } else {
            return words(rest).next().filter(|word| rest.starts_with(word)).unwrap_or_default();
        }
    }
}

/// What follows a `/* */` comment; they nest.
fn after_comment(sql: &str) -> &str {
    let mut depth = 0_usize;
    let mut rest = sql;
    while let Some(position) = rest.find(['/', '*']) {
        rest = rest.get(position..).unwrap_or_default();
        let step = if rest.starts_with("/*") {
            depth += 1;
            2
        } else if rest.starts_with("*/") {
            depth = depth.saturating_sub(1);
            2
        } else {
            1
        };
        rest = rest.get(step..).unwrap_or_default();
        if depth == 0 {
            return rest;
        }
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_and_sessions_are_ours() {
        for sql in [
            "COMMIT",
            "  rollback",
            "-- x\nBEGIN",
            "/* a /* b */ c */ end",
            "set search_path = x",
            "LISTEN x",
            ";commit",
            "copy t from stdin",
            "",
            "  ",
            "-- only a comment",
            "/* open",
            "select 1\0",
            "DO $$begin end$$",
            "unlisten *",
            "Savepoint a",
        ] {
            assert!(check(sql, 0).is_err(), "{sql:?}");
        }
        for sql in [
            "SELECT 1",
            "(select 1)",
            "with x as (select 1) table x",
            "INSERT INTO t VALUES (1)",
            "merge into t",
            "create table t ()",
        ] {
            assert!(check(sql, 0).is_ok(), "{sql:?}");
        }
    }

    #[test]
    fn reading_is_only_what_surely_reads() {
        for sql in
            ["SELECT updated_at FROM t", "/* c */ select 1", "(values (1))", "WITH a AS (SELECT 1) SELECT * FROM a"]
        {
            assert!(only_reads(sql), "{sql:?}");
        }
        for sql in [
            "WITH a AS (Delete FROM t RETURNING 1) SELECT * FROM a",
            "select * into x from t",
            "select nextval('s')",
            "INSERT INTO t DEFAULT VALUES",
            "select 1 from t for update",
            "vacuum",
            "update t set a = 1",
        ] {
            assert!(!only_reads(sql), "{sql:?}");
        }
    }
}
