//! `swiftcart:email/sender` with a real mail server.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use swiftcart_support::eventually;

use crate::fixture::{Contract, DEADLINE, unique};

fn message(to: &str, id: &str) -> Value {
    json!({"send": {"message": {
        "to": to, "subject": "Grüße", "text": "Zoë, hello\n.\nend", "message_id": format!("{id}@contract.example"),
        "headers": [{"name": "X-Lesson", "value": "one"}],
    }}})
}

// Goal: what the component wrote is what the receiver has; the sender is the link's. Method: send one and read the inbox.
pub(crate) async fn a_mail_arrives_as_written(fixture: &mut Contract) -> anyhow::Result<()> {
    let (probe, id) = (fixture.probe().await?, unique("mail"));
    let to = format!("{id}@example.org");
    let sent = probe.run(&message(&format!("Zoë <{to}>"), &id)).await?;
    ensure!(sent == json!({"Ok": null}), "{sent}");
    let mail = eventually(DEADLINE, "the mail", || async {
        let found =
            fixture.client.inbox().await?.into_iter().find(|mail| mail.to.iter().any(|mailbox| mailbox.address == to));
        found.context("it is not in the inbox")
    })
    .await?;
    ensure!(mail.subject == "Grüße", "{mail:?}");
    ensure!(mail.text.as_deref().is_some_and(|text| text.trim_end() == "Zoë, hello\n.\nend"), "{:?}", mail.text);
    ensure!(mail.from.first().is_some_and(|from| from.address == "orders@swiftcart.example"), "{:?}", mail.from);
    ensure!(mail.header("message-id") == Some(&format!("<{id}@contract.example>")), "{:?}", mail.header("message-id"));
    ensure!(mail.header("x-lesson") == Some("one"), "{:?}", mail.headers);
    Ok(())
}

// Goal: what cannot be a mail is `invalid` and not sent, above all a header that would add others. Method: bad address, header of the mail's
// own, line break in a value.
pub(crate) async fn a_bad_mail_is_invalid(fixture: &mut Contract) -> anyhow::Result<()> {
    let (probe, id) = (fixture.probe().await?, unique("bad"));
    let with = |path: &str, value: &str| {
        let mut mail = message("a@example.org", &id);
        if let Some(field) = mail.pointer_mut(&format!("/send/message/{path}")) {
            *field = json!(value);
        }
        mail
    };
    for mail in [
        with("to", "nobody"),
        with("headers/0/name", "From"),
        with("headers/0/value", "a\r\nBcc: b@example.org"),
        with("message_id", "a b"),
    ] {
        let answer = probe.run(&mail).await?;
        ensure!(answer.pointer("/Err/Invalid").is_some(), "{mail} -> {answer}");
    }
    Ok(())
}

// Goal: without a server a mail is surely not sent, and the same host sends again when it is back. Method: stop, send, start, send.
pub(crate) async fn a_server_that_is_away_is_unavailable_and_comes_back(fixture: &mut Contract) -> anyhow::Result<()> {
    let (probe, id) = (fixture.probe().await?, unique("away"));
    fixture.shop.maildev.as_mut().context("no mail server")?.stop().await?;
    let away = probe.run(&message("a@example.org", &id)).await?;
    ensure!(away.pointer("/Err/Unavailable").is_some(), "{away}");
    fixture.shop.maildev.as_mut().context("no mail server")?.start().await?;
    eventually(DEADLINE, "mails to be sent again", || async {
        let answer = probe.run(&message("a@example.org", &id)).await?;
        ensure!(answer == json!({"Ok": null}), "{answer}");
        Ok(())
    })
    .await
}
