//! Which operators may do what.

use certs::Role;

use super::fault::Fault;
use super::settings::section;

section! {
    /// Which operators may do what, by the names in their certificates; while all lists are empty, every operator may do everything.
    pub struct Roles in "maintenance.roles" {
        /// Operators who may look and change nothing.
        viewer: Vec<String> = Vec::new(), "list of names", "reading needs no role; a name here says that no other was forgotten" shown "[\"audit\"]";
        /// Operators who may want operations, cancel them, and add freezes.
        planner: Vec<String> = Vec::new(), "list of names", "nobody has a role until somebody says so" shown "[\"ada\"]";
        /// Operators who may approve what others want.
        approver: Vec<String> = Vec::new(), "list of names", "nobody has a role until somebody says so" shown "[\"bob\"]";
        /// Operators who may do everything but approve.
        operator: Vec<String> = Vec::new(), "list of names", "nobody has a role until somebody says so" shown "[\"carol\"]";
        /// Operators who may take every right for a while, with a reason that everybody is told.
        break_glass: Vec<String> = Vec::new(), "list of names", "nobody has a role until somebody says so" shown "[\"dan\"]";
        /// How long that may be at most.
        break_glass_s: u32 = 14_400, "seconds", "a night's emergency, and not the next night's" in 60..=86_400;
    }
}

/// What somebody wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Want operations, cancel them, add freezes.
    Plan,
    /// Approve what others want.
    Approve,
    /// Everything else that changes something.
    Operate,
    /// Take every right for a while.
    BreakGlass,
}

impl Roles {
    /// Whether anybody has a role; if nobody has, every operator may do everything.
    pub const fn are_given(&self) -> bool {
        let Self { viewer, planner, approver, operator, break_glass, break_glass_s: _ } = self;
        !(viewer.is_empty()
            && planner.is_empty()
            && approver.is_empty()
            && operator.is_empty()
            && break_glass.is_empty())
    }

    /// Whether an operator may do something by a role.
    pub fn allow(&self, name: &str, right: Right) -> bool {
        let is = |names: &[String]| names.iter().any(|it| it == name);
        match right {
            Right::Plan => is(&self.planner) || is(&self.operator),
            Right::Approve => is(&self.approver),
            Right::Operate => is(&self.operator),
            Right::BreakGlass => is(&self.break_glass),
        }
    }

    /// Notes every name that no certificate can have.
    pub(super) fn check(&self, faults: &mut Vec<Fault>) {
        for (role, names) in [
            ("viewer", &self.viewer),
            ("planner", &self.planner),
            ("approver", &self.approver),
            ("operator", &self.operator),
            ("break_glass", &self.break_glass),
        ] {
            for (index, name) in names.iter().enumerate() {
                if let Err(error) = Role::Operator.check_name(name) {
                    let setting = format!("maintenance.roles.{role}[{index}]");
                    faults.push(Fault::new(setting, error.to_string()));
                }
            }
        }
    }
}

impl Right {
    /// The role that has it, as it is configured.
    pub const fn role(self) -> &'static str {
        match self {
            Self::Plan => "planner",
            Self::Approve => "approver",
            Self::Operate => "operator",
            Self::BreakGlass => "break_glass",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_allows_its_own_and_an_operator_plans_too_but_does_not_approve() {
        let none = Roles::default();
        assert!(!none.are_given());
        let names = |name: &str| vec![name.to_owned()];
        let roles = Roles {
            viewer: names("vic"),
            planner: names("ada"),
            approver: names("bob"),
            operator: names("carol"),
            break_glass: names("dan"),
            ..Roles::default()
        };
        let mut faults = Vec::new();
        roles.check(&mut faults);
        assert_eq!(faults.len(), 0);
        Roles { planner: names("a b"), ..Roles::default() }.check(&mut faults);
        assert_eq!(faults.len(), 1);
        assert!(roles.are_given());
        let all = [Right::Plan, Right::Approve, Right::Operate, Right::BreakGlass];
        for (name, may) in [
            ("vic", [false, false, false, false]),
            ("ada", [true, false, false, false]),
            ("bob", [false, true, false, false]),
            ("carol", [true, false, true, false]),
            ("dan", [false, false, false, true]),
            ("", [false, false, false, false]),
        ] {
            assert_eq!(all.map(|right| roles.allow(name, right)), may, "{name}");
        }
    }
}
