//! Health, metrics and the API of one gateway, on a thread of their own.
//!
//! One port speaks both plain HTTP (reading, on loopback) and TLS: the first byte tells which. Who may change
//! things is the role in the client's certificate. The contract is `openapi.json`, served by the gateway itself.

mod bans;
mod blockers;
mod caller;
mod clients;
mod events;
mod feed;
mod feed_tokens;
mod glass;
mod listener;
mod maintenance;
mod peers;
mod planned;
mod preferences;
mod problem;
mod restart;
mod routes;
mod shadows;
mod subscribers;
mod tried;
mod wanted;

#[cfg(test)]
mod tests;

pub use bans::BanList;
pub use blockers::BlockerList;
pub use caller::Caller;
pub use clients::{
    ConnectionPage, SubscriptionList, ThingPage, ThingStatus, ThingsAnswer, ThingsRequest,
};
pub use feed_tokens::FeedTokenList;
pub use glass::GlassList;
pub use listener::{HttpApi, HttpError};
pub use maintenance::{ExecutionList, HostList};
pub use planned::EstimateList;
pub use preferences::PreferenceList;
pub use problem::Problem;
pub use routes::{ClientPage, GatewayList, PeerList, openapi};
pub use shadows::ShadowList;
pub use tried::OpeningsList;
pub use wanted::{FreezeList, OperationList, PolicyList, Reason};
