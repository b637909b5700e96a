//! Telling the agents: every change to every one of them, each within a deadline.
//!
//! A change that is known already is no fault to an agent, so whatever fails may be tried again whole.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use spillway_model::api::{AlarmChange, Status};
use spillway_part::client::{CallError, Client};

/// Most agents that are told.
const AGENTS_MAX: usize = 16;
/// How long telling one agent everything may take. Lambda's own deadline must be later.
const DEADLINE: Duration = Duration::from_secs(5);

/// Why the agents cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum AgentsError {
    /// Who they are is not said, or how they know the function.
    #[error("{0} is not set: set it in the function's environment{hint}", hint = token_hint(.0))]
    Variable(&'static str),
    /// An address that cannot be one.
    #[error(
        "SPILLWAY_AGENTS names `{0}`: write http://HOST:PORT of each agent's API, separated by commas; the private link encrypts what goes there"
    )]
    Url(String),
    /// Too many.
    #[error("SPILLWAY_AGENTS names {0} agents, but at most {AGENTS_MAX} can be told")]
    TooMany(usize),
    /// It is not clear whose they are.
    #[error(
        "SPILLWAY_TOKEN holds {tokens} tokens for {agents} agents: write one for all, or one of each, separated by commas"
    )]
    Tokens {
        /// Tokens there are.
        tokens: usize,
        /// Agents there are.
        agents: usize,
    },
}

fn token_hint(variable: &str) -> &'static str {
    match variable {
        "SPILLWAY_TOKEN" => ", or SPILLWAY_TOKEN_ARN to the ARN of the secret that holds it",
        _ => "",
    }
}

/// Why an agent was not told.
#[derive(Debug, thiserror::Error)]
pub enum Untold {
    /// Its name leads nowhere.
    #[error("the agent {agent} cannot be found")]
    Name {
        /// Which.
        agent: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It did not take a change.
    #[error("the agent {agent} has not taken the change of alarm `{alarm}`")]
    Call {
        /// Which.
        agent: String,
        /// Of which alarm.
        alarm: String,
        /// Why.
        #[source]
        source: CallError,
    },
    /// It takes too long.
    #[error("the agent {agent} has not taken everything within {DEADLINE:?}")]
    Deadline {
        /// Which.
        agent: String,
    },
}

/// The agents that are told of alarms.
#[derive(Clone)]
pub struct Agents {
    /// `HOST:PORT` of each API, and its operator's token.
    agents: Vec<(String, String)>,
}

impl Agents {
    /// The agents that variables name, as `lookup` gives them: `SPILLWAY_AGENTS`, their URLs with commas
    /// between, and `SPILLWAY_TOKEN`, the operator's token of all of them or the tokens of each.
    ///
    /// # Errors
    /// When a variable is missing, or names no agents.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, AgentsError> {
        let needed = |name: &'static str| {
            let value = lookup(name).filter(|value| !value.trim().is_empty());
            value.ok_or(AgentsError::Variable(name))
        };
        let (agents, tokens) = (needed("SPILLWAY_AGENTS")?, needed("SPILLWAY_TOKEN")?);
        let addresses: Vec<String> = agents.split(',').map(address).collect::<Result<_, _>>()?;
        if addresses.len() > AGENTS_MAX {
            return Err(AgentsError::TooMany(addresses.len()));
        }
        let tokens: Vec<&str> = tokens.split(',').map(str::trim).collect();
        if tokens.len() != 1 && tokens.len() != addresses.len() {
            return Err(AgentsError::Tokens { tokens: tokens.len(), agents: addresses.len() });
        }
        let tokens = tokens.iter().cycle().map(|token| (*token).to_owned());
        Ok(Self { agents: addresses.into_iter().zip(tokens).collect() })
    }

    /// Tells every agent of every change, all agents at once and the changes in their order. Returns
    /// who was not told of all of them, and why.
    pub async fn tell(&self, changes: &[AlarmChange]) -> Vec<Untold> {
        // An environment sleeps between events: a connection from before may lead nowhere by now.
        let client = Client::default();
        let told = self.agents.iter().map(async |(agent, token)| {
            let client = client.clone().with_token(token.clone());
            let telling = tokio::time::timeout(DEADLINE, tell_one(&client, agent, changes));
            telling.await.unwrap_or_else(|_| vec![Untold::Deadline { agent: agent.clone() }])
        });
        join_all(told).await.into_iter().flatten().collect()
    }
}

/// A change that the agent refuses does not keep the others from it.
async fn tell_one(client: &Client, agent: &str, changes: &[AlarmChange]) -> Vec<Untold> {
    let to = match resolve(agent).await {
        Ok(to) => to,
        Err(source) => return vec![Untold::Name { agent: agent.to_owned(), source }],
    };
    let mut untold = Vec::new();
    for change in changes {
        let (alarm, state) = (&change.alarm, change.state);
        let answer: Result<Status, CallError> =
            client.exchange(Method::POST, to, "/v1/alarms", Some(change), DEADLINE).await;
        match answer {
            Ok(status) => {
                tracing::info!(agent, alarm, ?state, tier = %status.tier, "the agent knows of it");
            }
            Err(source) => {
                let (agent, alarm) = (agent.to_owned(), alarm.clone());
                untold.push(Untold::Call { agent, alarm, source });
            }
        }
    }
    untold
}

async fn resolve(agent: &str) -> std::io::Result<SocketAddr> {
    let mut found = tokio::net::lookup_host(agent).await?;
    found.next().ok_or_else(|| std::io::Error::other("it has no address"))
}

/// `HOST:PORT` of a URL.
fn address(url: &str) -> Result<String, AgentsError> {
    let url = url.trim();
    let bad = || AgentsError::Url(crate::quoted(url));
    let uri: http::Uri = url.parse().map_err(|_| bad())?;
    let whole = uri.path_and_query().is_none_or(|path| path == "/");
    match (uri.scheme_str(), uri.authority()) {
        (Some("http"), Some(to))
            if whole
                && !to.host().is_empty()
                && to.port_u16().is_some_and(|port| port > 0)
                && !to.as_str().contains('@') =>
        {
            Ok(to.to_string())
        }
        _ => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agents(list: &str) -> Result<Agents, AgentsError> {
        Agents::read(|name| match name {
            "SPILLWAY_AGENTS" => Some(list.to_owned()),
            _ => Some(" token\n".to_owned()),
        })
    }

    #[test]
    fn a_token_is_of_all_agents_or_of_one() {
        let read = |tokens: &str| {
            let agents = Agents::read(|name| match name {
                "SPILLWAY_AGENTS" => Some("http://a:1,http://b:2".to_owned()),
                _ => Some(tokens.to_owned()),
            });
            agents.map(|agents| agents.agents)
        };
        let pair = |a: &str, b: &str| {
            vec![("a:1".to_owned(), a.to_owned()), ("b:2".to_owned(), b.to_owned())]
        };
        assert_eq!(read("x\n").unwrap(), pair("x", "x"));
        assert_eq!(read("x, y\n").unwrap(), pair("x", "y"));
        let refused = read("x,y,z").unwrap_err().to_string();
        assert!(refused.starts_with("SPILLWAY_TOKEN holds 3 tokens for 2 agents"), "{refused}");
    }

    #[test]
    fn agents_are_named_by_urls() {
        let named = agents("http://10.0.1.2:9100, http://agent.internal:9100/,http://[fd00::1]:80");
        let expected = ["10.0.1.2:9100", "agent.internal:9100", "[fd00::1]:80"];
        let named = named.unwrap().agents;
        assert_eq!(named.iter().map(|(at, _)| at.as_str()).collect::<Vec<_>>(), expected);
        assert!(named.iter().all(|(_, token)| token == "token"));
        for bad in [
            "10.0.1.2:9100",
            "https://10.0.1.2:9100",
            "http://10.0.1.2",
            "http://10.0.1.2:0",
            "http://10.0.1.2:9100/v1",
            "http://10.0.1.2:9100/?a",
            "http://user@10.0.1.2:9100",
            "http://10.0.1.2:9100,",
            "http://:9100",
            "nonsense",
        ] {
            assert!(matches!(agents(bad), Err(AgentsError::Url(_))), "{bad}");
        }
        assert!(matches!(agents(" "), Err(AgentsError::Variable("SPILLWAY_AGENTS"))));
        let many = vec!["http://a:1"; 17].join(",");
        assert!(matches!(agents(&many), Err(AgentsError::TooMany(17))));
        let without = Agents::read(|name| {
            (name == "SPILLWAY_AGENTS").then(|| "http://10.0.1.2:9100".to_owned())
        });
        assert!(matches!(without, Err(AgentsError::Variable("SPILLWAY_TOKEN"))));
    }
}
