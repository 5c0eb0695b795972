//! The orgs whose events a backup may hold besides its own.

use event_recovery_format::{EnvelopeRule, OrgRule};

use crate::backup::org_id::{OrgId, OrgIdError};

/// The orgs that an org is linked to. The backup of an *additional subscriber* holds events of all of them.
///
/// They matter only next to damage, where an object must have the org id of one of them, or the org's own, to count
/// as an event. The default is every id that looks like one, so that no intact event is lost to this rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkedOrgs {
    /// `None` for any.
    ids: Option<Vec<OrgId>>,
}

impl LinkedOrgs {
    /// Only these, and the org's own; any if the text is empty. Ids are separated by commas.
    ///
    /// # Errors
    ///
    /// The first of them that is not an org id.
    pub fn parse(text: &str) -> Result<Self, OrgIdError> {
        let ids = text.split(',').map(str::trim).filter(|id| !id.is_empty());
        let ids: Vec<OrgId> = ids.map(OrgId::parse).collect::<Result<_, _>>()?;
        Ok(Self {
            ids: (!ids.is_empty()).then_some(ids),
        })
    }

    /// What an object next to damage must have in the backup of this org.
    pub(crate) fn rule(&self, own: &OrgId) -> EnvelopeRule {
        let orgs = match &self.ids {
            None => OrgRule::OrgIds,
            Some(ids) => {
                let ids = ids.iter().chain([own]);
                OrgRule::OneOf(ids.map(OrgId::to_string).collect())
            }
        };
        EnvelopeRule { orgs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "tn-34778262-f4f0-464d-b4c6-a14e2dc6f4be";
    const LINKED: &str = "tn-00000000-f4f0-464d-b4c6-a14e2dc6f4be";
    const OTHER: &str = "tn-11111111-f4f0-464d-b4c6-a14e2dc6f4be";

    #[test]
    fn any_org_is_linked_unless_some_are_named() {
        let own = OrgId::parse(OWN).unwrap();
        let accepted = |linked: &str| {
            let rule = LinkedOrgs::parse(linked).unwrap().rule(&own);
            [OWN, LINKED, OTHER].map(|org| {
                rule.matches(format!(r#"{{"event_id":"e","org_id":"{org}"}}"#).as_bytes())
            })
        };
        assert_eq!(accepted(""), [true, true, true]);
        assert_eq!(accepted(&format!(" {LINKED} ,")), [true, true, false]);
        assert!(LinkedOrgs::parse(&format!("{LINKED},tn-1")).is_err());
    }
}
