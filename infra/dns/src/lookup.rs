//! What a snapshot says to a question: the algorithm of RFC 1034 §4.3.2 with wildcards (RFC 4592),
//! DNAME (RFC 6672), the final name's response code (RFC 6604) and minimal ANY (RFC 8482).

use std::borrow::Cow;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{CNAME, HINFO};
use hickory_proto::rr::{Name, RData, RecordType};
use spillway_model::ClientPrefix;

use crate::name;
use crate::rdata::dname_target;
use crate::steer::{Choice, Snapshot};
use crate::zone::{Hit, Node, Role, RrSet, Zone};

/// Most aliases followed for one question; more are a mistake or an attack.
const ALIASES_MAX: usize = 16;
/// Time to live of the record that stands for all types (RFC 8482 §4.2).
const ANY_TTL_SECS: u32 = 3600;

/// One record of a response.
#[derive(Debug, Clone)]
pub(crate) struct Rr<'a> {
    pub(crate) owner: Cow<'a, Name>,
    pub(crate) ttl: u32,
    pub(crate) data: Cow<'a, RData>,
}

/// The sections of a response.
#[derive(Debug)]
pub(crate) struct Found<'a> {
    pub(crate) code: ResponseCode,
    pub(crate) authoritative: bool,
    pub(crate) answer: Vec<Rr<'a>>,
    pub(crate) authority: Vec<Rr<'a>>,
    /// Without these a referral leads nowhere (RFC 9471): if they do not fit, it is truncated.
    pub(crate) glue: Vec<Rr<'a>>,
    /// Left out where they do not fit: name servers of the zone beside a positive answer.
    pub(crate) spare_authority: Vec<Rr<'a>>,
    /// Left out where they do not fit: addresses of names in the answer.
    pub(crate) spare_additional: Vec<Rr<'a>>,
    /// Present if the answer depends on the client, even where it has no addresses.
    pub(crate) steered: Option<Choice<'a>>,
}

impl Found<'_> {
    pub(crate) fn empty(code: ResponseCode) -> Self {
        Self {
            code,
            authoritative: false,
            answer: Vec::new(),
            authority: Vec::new(),
            glue: Vec::new(),
            spare_authority: Vec::new(),
            spare_additional: Vec::new(),
            steered: None,
        }
    }
}

/// Answers a question for a client.
pub(crate) fn find<'a>(
    snapshot: &'a Snapshot,
    qname: &'a Name,
    rtype: RecordType,
    client: ClientPrefix,
) -> Found<'a> {
    let key = name::key(qname);
    let Some(zone) = snapshot.zones.responsible(&key, rtype) else {
        return Found::empty(ResponseCode::Refused);
    };
    let mut found = Found::empty(ResponseCode::NoError);
    found.authoritative = true;
    let owner = Cow::Borrowed(qname);
    let mut search = Search { snapshot, zone, rtype, client, owner, found };
    search.follow(key);
    search.found
}

struct Search<'a> {
    snapshot: &'a Snapshot,
    zone: &'a Zone,
    rtype: RecordType,
    client: ClientPrefix,
    /// The name looked up: the question's, then what that is an alias of.
    owner: Cow<'a, Name>,
    found: Found<'a>,
}

impl<'a> Search<'a> {
    /// Looks a name up, and then what it is an alias of, as long as that is in the zone.
    fn follow(&mut self, mut key: Vec<u8>) {
        let mut seen = Vec::new();
        for _ in 0..=ALIASES_MAX {
            let Some(target) = self.step(&key) else { return };
            seen.push(std::mem::replace(&mut key, name::key(&target)));
            self.owner = Cow::Owned(target);
            // A name in a zone below this one, even of ours, is that zone's to answer for.
            let here = self.snapshot.zones.enclosing(&key).map(|zone| &zone.apex_key);
            if here != Some(&self.zone.apex_key) || seen.contains(&key) {
                return;
            }
        }
    }

    /// Adds what one name has to the response. Gives the name to go on with if it is an alias.
    fn step(&mut self, key: &[u8]) -> Option<Name> {
        match self.zone.find(key) {
            // The DS records of a delegation are the parent's (RFC 4035 §3.1.4.1).
            Hit::Cut(cut) if self.rtype == RecordType::DS && *name::key(&cut.owner) == *key => {
                self.node(cut)
            }
            Hit::Cut(cut) => {
                self.refer(cut);
                None
            }
            Hit::Dname(node, set) => self.dname(node, set),
            Hit::Node(node) => self.node(node),
            Hit::Wildcard(node) => self.node(node),
            Hit::Missing => {
                self.found.code = ResponseCode::NXDomain;
                self.negative(u32::MAX);
                None
            }
        }
    }

    fn node(&mut self, node: &'a Node) -> Option<Name> {
        let address = matches!(self.rtype, RecordType::A | RecordType::AAAA);
        match node.role {
            Role::Steered if address => {
                self.steered();
                return None;
            }
            Role::Slb if address => {
                let steering = &self.snapshot.steering;
                self.addresses(steering.cloud.of(self.rtype), steering.cloud_ttl_secs);
                return None;
            }
            Role::Site(place) if address => {
                let (addresses, ttl_secs) = self.snapshot.steering.site(place, self.rtype);
                self.addresses(addresses, ttl_secs);
                return None;
            }
            _ => {}
        }
        if let Some(set) = node.set(self.rtype) {
            self.positive(set);
        } else if let Some(set) = node.set(RecordType::CNAME) {
            self.records(set);
            if self.rtype != RecordType::ANY
                && let Some(RData::CNAME(CNAME(target))) = set.data.first()
            {
                return Some(target.clone());
            }
        } else if self.rtype == RecordType::ANY && node_has_data(node) {
            let data = RData::HINFO(HINFO::from_bytes((*b"RFC8482").into(), [].into()));
            let (owner, data) = (self.owner.clone(), Cow::Owned(data));
            self.found.answer.push(Rr { owner, ttl: ANY_TTL_SECS, data });
        } else {
            self.negative(u32::MAX);
        }
        None
    }

    fn steered(&mut self) {
        let choice = self.snapshot.steering.choose(self.client);
        self.found.steered = Some(choice);
        self.addresses(choice.addresses.of(self.rtype), choice.ttl_secs);
    }

    /// These answers go without the zone's name servers: they are the bulk of all answers, and
    /// nobody who got here needs them. That a family is missing must not be remembered for longer
    /// than an address would be.
    fn addresses(&mut self, addresses: &'a [RData], ttl: u32) {
        if addresses.is_empty() {
            self.negative(ttl);
        }
        let records = addresses.iter().map(|data| Rr {
            owner: self.owner.clone(),
            ttl,
            data: Cow::Borrowed(data),
        });
        self.found.answer.extend(records);
    }

    fn positive(&mut self, set: &'a RrSet) {
        self.records(set);
        let zone = self.zone;
        let servers = zone.any_node(&zone.apex_key).and_then(|apex| apex.set(RecordType::NS));
        let asked_for = self.rtype == RecordType::NS && *self.owner == zone.apex;
        let servers = servers.filter(|_| !asked_for);
        for data in servers.iter().flat_map(|set| &set.data) {
            let (owner, data) = (Cow::Borrowed(&zone.apex), Cow::Borrowed(data));
            let ttl = servers.map_or(0, |set| set.ttl);
            self.found.spare_authority.push(Rr { owner, ttl, data });
        }
        let named = set.data.iter().chain(servers.iter().flat_map(|set| &set.data));
        for target in named.filter_map(target) {
            let key = name::key(target);
            if name::is_within(&key, &zone.apex_key)
                && let Hit::Node(node) = zone.find(&key)
            {
                let found = &mut self.found;
                if !found.answer.iter().any(|rr| *rr.owner == node.owner && is_address(&rr.data)) {
                    add_addresses(&mut found.spare_additional, node);
                }
            }
        }
    }

    fn records(&mut self, set: &'a RrSet) {
        self.found.answer.extend(set.data.iter().map(|data| Rr {
            owner: self.owner.clone(),
            ttl: set.ttl,
            data: Cow::Borrowed(data),
        }));
    }

    /// A referral. It is authoritative only for aliases that led to it.
    fn refer(&mut self, cut: &'a Node) {
        self.found.authoritative = !self.found.answer.is_empty();
        let Some(servers) = cut.set(RecordType::NS) else { return };
        let cut_key = name::key(&cut.owner);
        for data in &servers.data {
            let (owner, data) = (Cow::Borrowed(&cut.owner), Cow::Borrowed(data));
            self.found.authority.push(Rr { owner, ttl: servers.ttl, data });
        }
        for target in servers.data.iter().filter_map(target) {
            let key = name::key(target);
            let Some(node) = self.zone.any_node(&key) else { continue };
            if name::is_within(&key, &cut_key) {
                add_addresses(&mut self.found.glue, node);
            } else {
                add_addresses(&mut self.found.spare_additional, node);
            }
        }
    }

    /// The name below a DNAME becomes an alias of the same name below its target.
    fn dname(&mut self, node: &'a Node, set: &'a RrSet) -> Option<Name> {
        let data = set.data.first()?;
        let points_to = dname_target(data);
        let applied = self
            .found
            .answer
            .iter()
            .any(|rr| *rr.owner == node.owner && rr.data.record_type() == RecordType::DNAME);
        if !applied {
            let (owner, data) = (Cow::Borrowed(&node.owner), Cow::Borrowed(data));
            self.found.answer.push(Rr { owner, ttl: set.ttl, data });
        } else if points_to.as_ref().is_some_and(|to| node.owner.zone_of(to)) {
            // A DNAME that points below itself would go on until the name is too long.
            return None;
        }
        let below = self.owner.iter().len().saturating_sub(node.owner.iter().len());
        let target = points_to.and_then(|target| {
            Name::from_labels(self.owner.iter().take(below)).ok()?.append_domain(&target).ok()
        });
        let Some(target) = target else {
            // RFC 6672 §2.2: the name would be too long.
            self.found.code = ResponseCode::YXDomain;
            return None;
        };
        self.found.answer.push(Rr {
            owner: self.owner.clone(),
            ttl: set.ttl,
            data: Cow::Owned(RData::CNAME(CNAME(target.clone()))),
        });
        (self.rtype != RecordType::CNAME && self.rtype != RecordType::ANY).then_some(target)
    }

    /// The SOA of a negative answer, to be remembered for `ttl_max` at most.
    fn negative(&mut self, ttl_max: u32) {
        let set = &self.zone.negative;
        self.found.authority.extend(set.data.iter().map(|data| Rr {
            owner: Cow::Borrowed(&self.zone.apex),
            ttl: set.ttl.min(ttl_max),
            data: Cow::Borrowed(data),
        }));
    }
}

/// A name whose addresses the plan or the configuration gives has data too.
fn node_has_data(node: &Node) -> bool {
    !node.sets.is_empty() || node.role != Role::Plain
}

/// The host that a record names, where its addresses are of use at once (RFC 1035 §3.3.9, .11).
fn target(data: &RData) -> Option<&Name> {
    match data {
        RData::NS(ns) => Some(&ns.0),
        RData::MX(mx) => Some(&mx.exchange),
        RData::SRV(srv) => Some(&srv.target),
        _ => None,
    }
}

fn is_address(data: &RData) -> bool {
    matches!(data, RData::A(_) | RData::AAAA(_))
}

fn add_addresses<'a>(to: &mut Vec<Rr<'a>>, node: &'a Node) {
    if to.iter().any(|rr| *rr.owner == node.owner) {
        return;
    }
    for set in [RecordType::A, RecordType::AAAA].iter().filter_map(|rtype| node.set(*rtype)) {
        to.extend(set.data.iter().map(|data| Rr {
            owner: Cow::Borrowed(&node.owner),
            ttl: set.ttl,
            data: Cow::Borrowed(data),
        }));
    }
}
