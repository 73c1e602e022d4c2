//! Apache Kafka as Maven artifacts and the Java that runs them. Invariant: the version is one constant; any Java from 17 on serves.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail};

use super::{KafkaProgram, Tools, cache, find_on_path, output, run};

const KAFKA_FOLDER: &str = "kafka-4.4.0";
/// The logging binding is of the log4j version that Kafka 4.4.0 brings; without it a broker is silent.
const POM: &str = r#"<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>swiftcart</groupId>
  <artifactId>kafka-distribution</artifactId>
  <version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>4.4.0</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.25.5</version></dependency>
  </dependencies>
</project>
"#;
const OLDEST_JAVA: u32 = 17;

pub(super) fn kafka_present(tools: &Tools) -> bool {
    tools.cache.join(KAFKA_FOLDER).join("libs").exists()
}

pub(super) fn kafka(tools: &Tools) -> anyhow::Result<KafkaProgram> {
    let folder = cache::folder(tools, KAFKA_FOLDER, |unfinished| {
        tools.progress.say("Installing Apache Kafka 4.4.0 (Maven, 43 MB)");
        fs::write(unfinished.join("pom.xml"), POM)?;
        let mut command = Command::new("mvn");
        command.args(["--quiet", "--batch-mode", "dependency:copy-dependencies", "-DincludeScope=runtime"]);
        command.arg(format!("-DoutputDirectory={}", unfinished.join("libs").display())).current_dir(unfinished);
        run(&mut command, "installing Apache Kafka")
    })?;
    Ok(KafkaProgram { java: java()?, libs: folder.join("libs") })
}

/// A Java of at least version 17: `$JAVA_HOME`'s, else the one on the path.
pub(super) fn java() -> anyhow::Result<PathBuf> {
    let home =
        std::env::var_os("JAVA_HOME").map(|home| PathBuf::from(home).join("bin/java")).filter(|java| java.exists());
    let mut seen = String::new();
    for java in home.into_iter().chain(find_on_path("java")) {
        match version(&java) {
            Ok(version) if version >= OLDEST_JAVA => return Ok(java),
            Ok(version) => seen = format!(", but {} is version {version}", java.display()),
            Err(error) => seen = format!(", but {error:#}"),
        }
    }
    bail!("Java {OLDEST_JAVA} or later is needed{seen}")
}

/// Read from the file that every JDK carries, because starting a Java only to ask it costs a tenth of a second.
fn version(java: &PathBuf) -> anyhow::Result<u32> {
    let release =
        java.canonicalize().ok().and_then(|java| fs::read_to_string(java.parent()?.parent()?.join("release")).ok());
    let stated = release.as_deref().and_then(|text| text.lines().find_map(|line| line.strip_prefix("JAVA_VERSION=\"")));
    let said = match stated {
        Some(stated) => stated.to_owned(),
        None => {
            let text = output(Command::new(java).arg("-version"), "asking Java for its version")?;
            text.split_once("version \"").map(|(_, rest)| rest.to_owned()).context("java -version says no version")?
        }
    };
    let mut numbers = said.split(['.', '"', '-', '+']).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(1)), Some(Ok(old))) => Ok(old),
        (Some(Ok(version)), _) => Ok(version),
        _ => bail!("{} says an unknown version: {said}", java.display()),
    }
}
