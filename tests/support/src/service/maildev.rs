//! The mail catcher: SMTP in, a web inbox and its API out. Invariant: mails are kept in the data folder and never leave the machine.

use std::time::Duration;

use super::{Ready, Service, is_service};
use crate::place::Place;
use crate::process::{Launch, StopSignal};
use crate::tools::MaildevProgram;

/// A mail catcher of its own.
#[derive(Debug)]
pub struct Maildev {
    service: Service,
    smtp_port: u16,
    web_port: u16,
}

is_service!(Maildev);

impl Maildev {
    /// Starts the server.
    ///
    /// # Errors
    /// When it does not get ready, with the end of the log.
    pub async fn start_in(place: &Place, program: &MaildevProgram) -> anyhow::Result<Self> {
        let (smtp_port, web_port) = (place.port("smtp")?, place.port("mail-web")?);
        let folder = place.folder("mail")?;
        let mut arguments = vec![program.script.clone().into_os_string()];
        arguments.extend(["--ip", "127.0.0.1", "--web-ip", "127.0.0.1", "--smtp"].map(Into::into));
        arguments.extend([
            smtp_port.to_string().into(),
            "--web".into(),
            web_port.to_string().into(),
            "--mail-directory".into(),
        ]);
        arguments.push(folder.clone().into_os_string());
        let launch = Launch {
            name: "maildev".to_owned(),
            program: program.node.clone(),
            arguments,
            environment: Vec::new(),
            folder,
            log: place.log("maildev")?,
            user: None,
            stop_signal: StopSignal::Terminate,
            lifetime: place.lifetime(),
        };
        let ready = Ready::Mail { smtp_port, url: format!("http://127.0.0.1:{web_port}/api/healthz") };
        let mut maildev = Self { service: Service::new(launch, ready, Duration::from_secs(60)), smtp_port, web_port };
        maildev.start().await?;
        Ok(maildev)
    }

    /// Where mails are handed in.
    #[must_use]
    pub fn smtp_url(&self) -> String {
        format!("smtp://127.0.0.1:{}", self.smtp_port)
    }

    /// The inbox for people; its API is below `/api`.
    #[must_use]
    pub fn web_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.web_port)
    }
}
