//! The command line: `tidegate` starts a fleet on this machine, its subcommands run one gateway or ask one.

mod acl;
mod api;
mod arguments;
mod backup_pause;
mod bans;
mod clients;
mod drain;
mod each;
mod execute;
mod exit;
mod lifeline;
mod maintenance;
mod passwd;
mod printed;
mod reach;
mod reload;
mod restart;
mod shadow;
mod show;
mod store;
mod things;

pub use self::maintenance::{
    ApproveArguments, AuditArguments, BlockerArguments, BlockerCommand, CalendarArguments,
    CheckArguments, FeedTokenArguments, FeedTokenCommand, FileError, FreezeArguments,
    FreezeCommand, GlassCommand, KindWord, MaintenanceCommand, NeedsArguments, OperationArguments,
    OperationCommand, OrderArguments, PlanArguments, PolicyCommand, PreferenceArguments,
    PreferenceCommand, PutArguments, ShowArguments, SimulateArguments, VisitCommand, Whose,
    WideArguments, WriteOffArguments,
};
pub use self::store::{StoreCommand, WhichStore};
pub use acl::{AclCommand, ExplainArguments};
pub use api::{Api, ApiError};
pub use arguments::{
    Arguments, Command, ConfigArguments, DEFAULT_DATA, DrainCommand, PasswdArguments, RunArguments,
    SessionsCommand,
};
pub use bans::{BansCommand, Whom};
pub use clients::ClientsCommand;
pub use execute::{RunGateway, execute};
pub use exit::{Exit, Failure};
pub use shadow::{ShadowCommand, Which};
pub use things::{Format, Marks, ThingsCommand};
