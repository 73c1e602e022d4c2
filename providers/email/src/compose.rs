//! From the caller's fields to the text of a mail (RFC 5322). Everything that could add a line to the header is refused, not cleaned.

use lettre::Message;
use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue, MIME_VERSION_1_0};
use lettre::message::{Body, Mailbox, MessageBuilder};

use crate::error::Error;
use crate::limits::{MAX_HEADERS, MAX_LINE_BYTES, MAX_TEXT_BYTES};

/// An extra header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Its name, for example `X-Order-Id`.
    pub name: String,
    /// Its value, one line.
    pub value: String,
}

/// A plain text mail.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Mail {
    /// One address, `user@example.org` or `Name <user@example.org>`.
    pub to: String,
    /// One line.
    pub subject: String,
    /// The text; it is sent as UTF-8.
    pub text: String,
    /// Without angle brackets, `id@domain`. Chosen by the caller and stable, so that a mail sent twice can be seen as one.
    pub message_id: String,
    /// Extra headers.
    pub headers: Vec<Header>,
}

impl std::fmt::Debug for Mail {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Address and text are personal.
        formatter.debug_struct("Mail").field("message_id", &self.message_id).finish_non_exhaustive()
    }
}

/// Names that the mail itself uses, and those that would send it to others or speak for the mail servers on its way.
const RESERVED: [&str; 11] =
    ["from", "to", "subject", "date", "message-id", "sender", "cc", "bcc", "return-path", "received", "dkim-signature"];
const RESERVED_PREFIXES: [&str; 3] = ["mime-", "content-", "resent-"];

/// Makes the mail, or says what is wrong with it.
pub(crate) fn compose(mail: &Mail, from: &Mailbox) -> Result<Message, Error> {
    let to = one_mailbox(&mail.to)?;
    one_line("the subject", &mail.subject)?;
    if mail.text.len() > MAX_TEXT_BYTES {
        return Err(Error::Invalid(format!(
            "the text has {} bytes, at most {MAX_TEXT_BYTES} are allowed",
            mail.text.len()
        )));
    }
    if mail.headers.len() > MAX_HEADERS {
        return Err(Error::Invalid(format!("{} extra headers, at most {MAX_HEADERS} are allowed", mail.headers.len())));
    }
    let mut builder: MessageBuilder = Message::builder()
        .from(from.clone())
        .to(to)
        .subject(mail.subject.as_str())
        .message_id(Some(format!("<{}>", message_id(&mail.message_id)?)))
        // Without it a reader need not decode the text (RFC 2045, 4); lettre adds it only to mails of several parts.
        .header(MIME_VERSION_1_0)
        .header(ContentType::TEXT_PLAIN);
    for header in &mail.headers {
        builder = builder.raw_header(extra_header(header)?);
    }
    builder.body(body(&mail.text)).map_err(|error| Error::Invalid(error.to_string()))
}

/// The text with the line ends of mail, in a form that needs no extension of the server. Quoted-printable stays readable in a raw mail, so
/// it is preferred to base64 for text in any language.
fn body(text: &str) -> Body {
    // lettre converts line ends too, but moves the rest of the text once per line; a guest's megabyte of newlines must not cost minutes.
    let text = text.replace("\r\n", "\n").replace('\r', "\n").replace('\n', "\r\n");
    if text.is_ascii() {
        return Body::new(text);
    }
    Body::new_with_encoding(text, ContentTransferEncoding::QuotedPrintable)
        .unwrap_or_else(|bytes| Body::new(String::from_utf8_lossy(&bytes).into_owned()))
}

fn one_mailbox(address: &str) -> Result<Mailbox, Error> {
    one_line("the address", address)?;
    // The address itself stays out of the message: it is personal.
    let malformed =
        || Error::Invalid("the address is not of the form user@example.org or Name <user@example.org>".to_owned());
    let mailbox: Mailbox = address.trim().parse().map_err(|_| malformed())?;
    // lettre's parser stops at the end of the first mailbox and forgets the rest.
    let ends_with_it = address.trim().trim_end_matches('>').ends_with(&mailbox.email.to_string());
    if !ends_with_it
        || address.matches('@').count() != mailbox.name.as_deref().map_or(0, |name| name.matches('@').count()) + 1
    {
        return Err(malformed());
    }
    Ok(mailbox)
}

/// `id@domain` of visible ASCII, as RFC 5322, 3.6.4 has it but for quoting, which nobody needs.
fn message_id(id: &str) -> Result<&str, Error> {
    let allowed = |byte: u8| byte.is_ascii_graphic() && !b"<>()[]\\,;:\"".contains(&byte);
    match id.split_once('@') {
        Some((left, right))
            if !left.is_empty()
                && !right.is_empty()
                && !right.contains('@')
                && id.bytes().all(allowed)
                && id.len() <= MAX_LINE_BYTES =>
        {
            Ok(id)
        }
        _ => Err(Error::Invalid("the message identifier is not of the form id@domain".to_owned())),
    }
}

fn extra_header(header: &Header) -> Result<HeaderValue, Error> {
    let name = header.name.as_str();
    let lower = name.to_ascii_lowercase();
    let invalid = || Error::Invalid(format!("the header name {name:?} is malformed"));
    if !name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':') {
        return Err(invalid());
    }
    if RESERVED.contains(&lower.as_str()) || RESERVED_PREFIXES.iter().any(|prefix| lower.starts_with(prefix)) {
        return Err(Error::Invalid(format!("the header {name} cannot be chosen")));
    }
    one_line(&format!("the header {name}"), &header.value)?;
    let name = HeaderName::new_from_ascii(name.to_owned()).map_err(|_| invalid())?;
    Ok(HeaderValue::new(name, header.value.clone()))
}

fn one_line(what: &str, text: &str) -> Result<(), Error> {
    if text.chars().any(char::is_control) {
        return Err(Error::Invalid(format!("{what} contains a control character or a line break")));
    }
    if text.len() > MAX_LINE_BYTES {
        return Err(Error::Invalid(format!("{what} is longer than {MAX_LINE_BYTES} bytes")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn mail() -> Mail {
        Mail {
            to: "Ännchen <user@example.org>".to_owned(),
            subject: "Zażółć".to_owned(),
            text: "Hallo\n.\nżółw".to_owned(),
            message_id: "42@mail.example.org".to_owned(),
            headers: vec![Header { name: "X-Order".to_owned(), value: "7".to_owned() }],
        }
    }

    fn composed(mail: &Mail) -> Result<String, Error> {
        let from = "Shop <shop@example.org>".parse().unwrap();
        compose(mail, &from).map(|message| String::from_utf8(message.formatted()).unwrap())
    }

    #[test]
    fn a_mail_has_its_headers_and_is_ascii() {
        let text = composed(&mail()).unwrap();
        for line in [
            "From: Shop <shop@example.org>",
            "Message-ID: <42@mail.example.org>",
            "X-Order: 7",
            "Content-Type: text/plain; charset=utf-8",
            "Subject: =?utf-8?b?WmHFvMOzxYLEhw==?=",
            "MIME-Version: 1.0",
            "Content-Transfer-Encoding: quoted-printable",
            "Hallo",
            ".",
            "=C5=BC=C3=B3=C5=82w",
        ] {
            assert!(text.lines().any(|found| found == line), "{line:?} in {text}");
        }
        assert!(text.is_ascii() && text.contains("Date: ") && text.contains("<user@example.org>"));
    }

    #[test]
    fn nothing_can_be_smuggled_in() {
        let refused = |change: &dyn Fn(&mut Mail)| {
            let mut mail = mail();
            change(&mut mail);
            assert!(
                matches!(composed(&mail), Err(Error::Invalid(_))),
                "{:?} {:?} {:?} {:?}",
                mail.to,
                mail.subject,
                mail.message_id,
                mail.headers
            );
        };
        for to in [
            "",
            "nobody",
            "a@example.org, b@example.org",
            "a@example.org b@example.org",
            "a@example.org\r\nBcc: b@example.org",
            "<a@example.org> x",
            "a@example.org>\r\nRCPT TO:<b@example.org",
            "A <a@example.org>, b@example.org",
            "A <a@example.org>; <b@example.org>",
        ] {
            refused(&|mail| mail.to = to.to_owned());
        }
        refused(&|mail| mail.subject = "x\r\nBcc: b@example.org".to_owned());
        refused(&|mail| mail.subject = "x\n".to_owned());
        refused(&|mail| mail.text = "x".repeat(MAX_TEXT_BYTES + 1));
        for id in ["", "x", "@x", "x@", "a@b@c", "<a@b>", "a b@c", "a@b\r\nX: y", "ä@b"] {
            refused(&|mail| mail.message_id = id.to_owned());
        }
        for name in [
            "To",
            "FROM",
            "bcc",
            "Cc",
            "subject",
            "Date",
            "Message-Id",
            "MIME-Version",
            "content-type",
            "Sender",
            "Resent-To",
            "",
            "X Y",
            "X:Y",
            "X\r\nY",
            "Ä",
        ] {
            refused(&|mail| mail.headers = vec![Header { name: name.to_owned(), value: String::new() }]);
        }
        for value in ["x\r\ny: z", "x\ny", "\0"] {
            refused(&|mail| mail.headers = vec![Header { name: "X-Y".to_owned(), value: value.to_owned() }]);
        }
        refused(&|mail| mail.headers = vec![Header { name: "X-Y".to_owned(), value: String::new() }; MAX_HEADERS + 1]);
        assert!(!format!("{:?}", mail()).contains("user@example.org"));
    }
}
