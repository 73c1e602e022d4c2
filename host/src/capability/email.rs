//! `swiftcart:email/sender` over `providers/email`.

use swiftcart_provider_email as email;

use super::bindings::swiftcart::email::sender::{Error, Host, Message};
use crate::runtime::Guest;

impl Host for Guest {
    async fn send(&mut self, message: Message) -> wasmtime::Result<Result<(), Error>> {
        let mailer = self.grants.email.clone().ok_or_else(|| super::not_granted(self, "swiftcart:email/sender"))?;
        let mail = email::Mail {
            to: message.to,
            subject: message.subject,
            text: message.text,
            message_id: message.message_id,
            headers: message
                .headers
                .into_iter()
                .map(|header| email::Header { name: header.name, value: header.value })
                .collect(),
        };
        let point = self.point(|| "email send".to_owned());
        let sent = point.around(mailer.send(&mail), email::Error::Unavailable, email::Error::Uncertain).await;
        Ok(sent.map_err(|failure| match failure {
            email::Error::Invalid(reason) => Error::Invalid(reason),
            email::Error::Rejected(reason) => Error::Rejected(reason),
            email::Error::Unavailable(reason) => Error::Unavailable(reason),
            email::Error::Uncertain(reason) => Error::Uncertain(reason),
        }))
    }
}
