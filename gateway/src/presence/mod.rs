//! Who is there, in the whole fleet, and what is written down about things: their documents, and what operators ask.

mod control;
mod documents;
mod errands;
mod registrar;
mod sending;

pub use control::{
    ClientControl, ConnectionStatus, FoundThings, Given, Left, PutThing, PutWhen, SendAwayRequest,
    SentAway, SubscriptionStatus, ThingDocument,
};
pub use documents::{DueLate, SendAway, due_late, expect_back, read_presence};
pub(crate) use documents::{
    delete_late, delete_order, forgotten, order_of, put_late, put_record, record_key, session_key,
};
#[cfg(test)]
pub(crate) use errands::errand_key;
pub(crate) use errands::old_errands;
pub use errands::{Errand, NearErrand, Report, Task};
pub use registrar::Registrar;
pub(crate) use registrar::{put_thing, thing_of};
