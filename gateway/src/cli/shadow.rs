//! `shadow`: what is desired of things, and what they reported.

use std::io::{Read as _, Write};
use std::time::Duration;

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::Value;

use super::api::{Api, ApiError};
use super::exit::{Exit, Failure};
use super::reach::Reached;
use super::show::percent_encoded;
use crate::http::ShadowList;

/// What to do about shadows.
#[derive(Debug, Clone, Subcommand)]
pub enum ShadowCommand {
    /// Show one, as its device would get it.
    Get(Which),
    /// Change one: the argument, or standard input, is what a device would publish.
    Update {
        /// Which.
        #[command(flatten)]
        which: Which,
        /// Such as {"state":{"desired":{"led":"on"}}}; `-` is standard input.
        #[arg(value_name = "JSON", default_value = "-")]
        change: String,
    },
    /// Delete one; its version goes on if it is created again in time.
    Delete(Which),
    /// List the names of a thing's named shadows.
    List {
        /// Name of the thing.
        thing: String,
    },
    /// Show one again whenever it has changed, until interrupted; looks once a second.
    Watch(Which),
}

/// Which shadow.
#[derive(Debug, Clone, Args)]
pub struct Which {
    /// Name of the thing.
    pub thing: String,
    /// Name of the shadow; the classic one when absent.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
}

/// How often a shadow that is watched is looked at.
const LOOK: Duration = Duration::from_secs(1);

impl Which {
    fn path(&self) -> String {
        let query = self.name.as_deref().map(|name| format!("?name={}", percent_encoded(name)));
        let thing = percent_encoded(&self.thing);
        format!("/api/v1/things/{thing}/shadow{}", query.unwrap_or_default())
    }
}

/// Asks the first gateway that answers: shadows are the whole fleet's.
pub(super) async fn run(
    gateways: Vec<Reached>,
    command: &ShadowCommand,
    json: bool,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let mut unreachable = None;
    for (_, api) in gateways {
        match ask(&api, command, json, out).await {
            Err(Failed::Api(error @ ApiError::Unreachable { .. })) => unreachable = Some(error),
            Err(Failed::Api(error)) => return Err(error.into()),
            Err(Failed::Io(error)) => return Err(error.into()),
            Ok(()) => return Ok(Exit::Done),
        }
    }
    let nobody = || Failure { exit: Exit::Failed, message: "there is no gateway".to_owned() };
    Err(unreachable.map_or_else(nobody, Failure::from))
}

/// Why nothing was shown.
enum Failed {
    Api(ApiError),
    Io(std::io::Error),
}

impl From<ApiError> for Failed {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

impl From<std::io::Error> for Failed {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

async fn ask(
    api: &Api,
    command: &ShadowCommand,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), Failed> {
    match command {
        ShadowCommand::Get(which) => {
            let document: Value = api.get(&which.path()).await?;
            show(&document, json, out)
        }
        ShadowCommand::Delete(which) => {
            let deleted: Value = api.delete(&which.path()).await?;
            show(&deleted, json, out)
        }
        ShadowCommand::Update { which, change } => {
            let body = if change == "-" { typed()? } else { change.clone().into_bytes() };
            // As it was typed: numbers are not read here.
            let answer = api.raw(Method::POST, &which.path(), body).await?;
            show(&api.read(answer)?, json, out)
        }
        ShadowCommand::List { thing } => list(api, thing, json, out).await,
        ShadowCommand::Watch(which) => watch(api, which, json, out).await,
    }
}

fn typed() -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    std::io::stdin().read_to_end(&mut body)?;
    Ok(body)
}

fn show(document: &Value, json: bool, out: &mut dyn Write) -> Result<(), Failed> {
    let text = if json { document.to_string() } else { format!("{document:#}") };
    writeln!(out, "{text}")?;
    out.flush()?;
    Ok(())
}

async fn list(api: &Api, thing: &str, json: bool, out: &mut dyn Write) -> Result<(), Failed> {
    let path = format!("/api/v1/things/{}/shadows", percent_encoded(thing));
    let mut names = Vec::new();
    let mut next = None;
    loop {
        let query = next.map(|after: String| format!("?after={}", percent_encoded(&after)));
        let page: ShadowList = api.get(&format!("{path}{}", query.unwrap_or_default())).await?;
        names.extend(page.names);
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    if json {
        return show(&Value::from(names), true, out);
    }
    for name in names {
        writeln!(out, "{name}")?;
    }
    Ok(())
}

async fn watch(api: &Api, which: &Which, json: bool, out: &mut dyn Write) -> Result<(), Failed> {
    let mut shown = None;
    loop {
        match api.get::<Value>(&which.path()).await {
            Ok(document) => {
                let version = document.get("version").cloned();
                if shown != version {
                    show(&document, json, out)?;
                    shown = version;
                }
            }
            // It may be created yet, or again.
            Err(ApiError::Problem(problem)) if problem.status == 404 => shown = None,
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shadow_is_named_by_its_path() {
        let which = |thing: &str, name: Option<&str>| Which {
            thing: thing.to_owned(),
            name: name.map(str::to_owned),
        };
        assert_eq!(which("t", None).path(), "/api/v1/things/t/shadow");
        assert_eq!(which("a:b", Some("$n")).path(), "/api/v1/things/a%3Ab/shadow?name=%24n");
    }
}
