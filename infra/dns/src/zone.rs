//! Zones as they are looked up: a tree of names kept as a hash map.
//!
//! Every name between the apex and a record has a node, so a walk down from the apex finds cuts,
//! DNAMEs, empty non-terminals (RFC 4592 §2.2.2) and the closest encloser in one lookup a label.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::path::Path;

use hickory_proto::rr::rdata::SOA;
use hickory_proto::rr::{Name, RData, RecordType};
use hickory_proto::serialize::binary::{BinEncodable as _, BinEncoder};

use crate::master::{self, Place, Placed, ZoneError, ZoneErrors};
use crate::name;

/// The zones of one server, checked.
#[derive(Debug, Default)]
pub struct Zones {
    by_apex: HashMap<Box<[u8]>, Zone>,
}

/// One zone.
#[derive(Debug)]
pub(crate) struct Zone {
    pub(crate) apex: Name,
    pub(crate) apex_key: Box<[u8]>,
    /// The SOA record, its TTL already that of negative answers (RFC 2308 §5).
    pub(crate) negative: RrSet,
    nodes: HashMap<Box<[u8]>, Node>,
}

/// One name of a zone. Without record sets it is an empty non-terminal.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) owner: Name,
    pub(crate) role: Role,
    pub(crate) sets: Vec<RrSet>,
}

/// What answers for the addresses of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The zone.
    Plain,
    /// The plan: the site or the cloud, by client.
    Steered,
    /// The configuration: the addresses of the cloud's load balancer.
    Slb,
    /// The configuration: the addresses of its site at this place.
    Site(usize),
}

/// All records of one name and type.
#[derive(Debug, Clone)]
pub(crate) struct RrSet {
    pub(crate) rtype: RecordType,
    pub(crate) ttl: u32,
    pub(crate) data: Vec<RData>,
}

/// What a zone has for a name.
#[derive(Debug)]
pub(crate) enum Hit<'z> {
    /// The name itself.
    Node(&'z Node),
    /// A delegation at or above the name.
    Cut(&'z Node),
    /// A DNAME above the name, and where it points.
    Dname(&'z Node, &'z RrSet),
    /// A wildcard that covers the name.
    Wildcard(&'z Node),
    /// Nothing.
    Missing,
}

impl Node {
    pub(crate) fn set(&self, rtype: RecordType) -> Option<&RrSet> {
        self.sets.iter().find(|set| set.rtype == rtype)
    }
}

impl Zones {
    /// Reads and checks master files.
    ///
    /// # Errors
    /// All mistakes found, file by file.
    pub fn read<P: AsRef<Path>>(files: &[P]) -> Result<Self, ZoneErrors> {
        let (mut zones, mut errors) = (Self::default(), Vec::new());
        for file in files.iter().map(AsRef::as_ref) {
            let added = master::read(file).and_then(|records| zones.add(records, file));
            errors.extend(added.err().into_iter().flatten());
        }
        if errors.is_empty() { Ok(zones) } else { Err(ZoneErrors(errors)) }
    }

    /// Reads and checks one master file that is in memory; `path` is for messages.
    ///
    /// # Errors
    /// All mistakes found.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ZoneErrors> {
        let mut zones = Self::default();
        let records = master::read_text(text.as_bytes(), path).map_err(ZoneErrors)?;
        zones.add(records, path).map_err(ZoneErrors)?;
        Ok(zones)
    }

    fn add(&mut self, records: Vec<Placed>, file: &Path) -> Result<(), Vec<ZoneError>> {
        let zone = Zone::build(records, file)?;
        let apex = zone.apex.clone();
        if self.by_apex.insert(zone.apex_key.clone(), zone).is_some() {
            let reason = format!("the zone {apex} stands in another file too");
            return Err(vec![ZoneError::Zone { path: file.to_owned(), reason }]);
        }
        Ok(())
    }

    /// The deepest zone that a name is in.
    pub(crate) fn enclosing(&self, key: &[u8]) -> Option<&Zone> {
        name::upwards(key).find_map(|up| self.by_apex.get(up))
    }

    /// The zone that answers for a name and type. The DS of a zone's apex is its parent's
    /// (RFC 4035 §3.1.4.1).
    pub(crate) fn responsible(&self, key: &[u8], rtype: RecordType) -> Option<&Zone> {
        let zone = self.enclosing(key)?;
        if rtype == RecordType::DS && *zone.apex_key == *key {
            let above = name::parent(key).and_then(|up| self.enclosing(up));
            return Some(above.unwrap_or(zone));
        }
        Some(zone)
    }

    /// Makes the plan answer for the addresses of `host`.
    ///
    /// # Errors
    /// When no zone has the name, it is delegated or an alias.
    pub fn steer(&mut self, host: &str) -> Result<(), ZoneError> {
        let setting = "service.host";
        let owner = name::parse(host.as_bytes(), Some(&Name::root()))
            .map_err(|reason| ZoneError::Name { setting, reason })?;
        let key = name::key(&owner);
        let refuse = |why: &str| {
            Err(ZoneError::Name { setting, reason: format!("cannot steer {owner}: {why}") })
        };
        let apex = self.enclosing(&key).map(|zone| zone.apex_key.clone());
        let Some(zone) = apex.and_then(|apex| self.by_apex.get_mut(&apex)) else {
            return refuse("no zone file has the zone it is in");
        };
        match zone.find(&key) {
            Hit::Cut(cut) => return refuse(&format!("the zone delegates {} away", cut.owner)),
            Hit::Dname(node, _) => {
                return refuse(&format!("the zone has a DNAME at {}", node.owner));
            }
            Hit::Node(node) if node.set(RecordType::CNAME).is_some() => {
                return refuse("the zone has a CNAME there");
            }
            Hit::Node(_) | Hit::Wildcard(_) | Hit::Missing => {}
        }
        let node = zone.node(owner);
        node.role = Role::Steered;
        node.sets.retain(|set| !matches!(set.rtype, RecordType::A | RecordType::AAAA));
        Ok(())
    }

    /// Makes the configuration answer for the addresses of the cloud's load balancer, if `host` is
    /// in a zone of ours that says nothing about it. Another's name must be answered elsewhere;
    /// `local` says that there is no elsewhere.
    ///
    /// # Errors
    /// When it is not a name, `local` and in no zone of ours, or in one that has other `addresses`.
    pub fn cloud(
        &mut self,
        host: &str,
        local: bool,
        addresses: &[IpAddr],
    ) -> Result<(), ZoneError> {
        let told = "cloud.slb_addresses";
        self.configured(("service.slb_host", host), Role::Slb, local, (told, addresses))
    }

    /// Does the same for the name of the configuration's site at `place`, if it has one.
    ///
    /// # Errors
    /// When it is not a name, or in a zone of ours that has other `addresses`.
    pub fn site(
        &mut self,
        place: usize,
        host: &str,
        addresses: &[IpAddr],
    ) -> Result<(), ZoneError> {
        self.configured(("site.host", host), Role::Site(place), false, ("site.vips", addresses))
    }

    fn configured(
        &mut self,
        (setting, host): (&'static str, &str),
        role: Role,
        local: bool,
        (listed, addresses): (&str, &[IpAddr]),
    ) -> Result<(), ZoneError> {
        let owner = name::parse(host.as_bytes(), Some(&Name::root()))
            .map_err(|reason| ZoneError::Name { setting, reason })?;
        let key = name::key(&owner);
        let apex = self.enclosing(&key).map(|zone| zone.apex_key.clone());
        let Some(zone) = apex.and_then(|apex| self.by_apex.get_mut(&apex)) else {
            if !local {
                return Ok(());
            }
            let reason = format!(
                "nobody answers for {owner}, the load balancer of the cloud on this machine: no zone \
                 file has the zone it is in"
            );
            return Err(ZoneError::Name { setting, reason });
        };
        let answers = [RecordType::A, RecordType::AAAA, RecordType::CNAME];
        let silent = match zone.find(&key) {
            Hit::Node(node) | Hit::Wildcard(node) => {
                answers.iter().all(|rtype| node.set(*rtype).is_none())
            }
            Hit::Missing => true,
            Hit::Cut(_) | Hit::Dname(..) => false,
        };
        if silent {
            zone.node(owner).role = role;
            return Ok(());
        }
        let (Hit::Node(node) | Hit::Wildcard(node)) = zone.find(&key) else { return Ok(()) };
        let told =
            [RecordType::A, RecordType::AAAA].into_iter().filter_map(|rtype| node.set(rtype));
        let told: BTreeSet<_> =
            told.flat_map(|set| set.data.iter().filter_map(RData::ip_addr)).collect();
        if told.is_empty() || told.iter().eq(&addresses.iter().copied().collect::<BTreeSet<_>>()) {
            return Ok(());
        }
        let list: Vec<_> = told.iter().map(ToString::to_string).collect();
        let reason = format!(
            "its zone has {} for {owner}, {listed} has others: leave the record out of the zone, the \
             configuration answers",
            list.join(", ")
        );
        Err(ZoneError::Name { setting, reason })
    }
}

impl Zone {
    fn build(records: Vec<Placed>, file: &Path) -> Result<Self, Vec<ZoneError>> {
        let whole = |reason: String| vec![ZoneError::Zone { path: file.to_owned(), reason }];
        let mut soas = records.iter().filter(|r| r.data.record_type() == RecordType::SOA);
        let soa = soas.next().ok_or_else(|| whole("the zone has no SOA record".to_owned()))?;
        let second = "a second SOA record; a file is one zone";
        let mut errors: Vec<_> = soas.map(|soa| ZoneError::at(&soa.place, second)).collect();
        let apex = soa.owner.clone();
        let negative = negative(soa);
        let apex_key: Box<[u8]> = name::key(&apex).into();
        let mut zone = Self { apex, apex_key, negative, nodes: HashMap::new() };
        let mut places: HashMap<(Box<[u8]>, RecordType), Place> = HashMap::new();
        for record in records {
            let (key, rtype) = (name::key(&record.owner), record.data.record_type());
            if !name::is_within(&key, &zone.apex_key) {
                let reason = format!("{} is outside the zone {}", record.owner, zone.apex);
                errors.push(ZoneError::at(&record.place, reason));
                continue;
            }
            places.entry((key.into(), rtype)).or_insert_with(|| record.place.clone());
            errors.extend(encodes(&record).and_then(|()| zone.insert(record)).err());
        }
        errors.extend(zone.misplaced_aliases(&places));
        errors.sort_by(|a, b| a.place().cmp(&b.place()));
        let at_apex = zone.nodes.get(&zone.apex_key).and_then(|node| node.set(RecordType::NS));
        if at_apex.is_none() {
            let reason = format!("the zone has no NS record at its apex, {}", zone.apex);
            errors.extend(whole(reason));
        }
        if errors.is_empty() { Ok(zone) } else { Err(errors) }
    }

    fn insert(&mut self, record: Placed) -> Result<(), ZoneError> {
        let rtype = record.data.record_type();
        let node = self.node(record.owner);
        let Some(set) = node.sets.iter_mut().find(|set| set.rtype == rtype) else {
            node.sets.push(RrSet { rtype, ttl: record.ttl, data: vec![record.data] });
            return Ok(());
        };
        if set.data.contains(&record.data) {
            return Ok(());
        }
        if matches!(rtype, RecordType::CNAME | RecordType::DNAME) {
            let reason = format!("a second {rtype} record at {}", node.owner);
            return Err(ZoneError::at(&record.place, reason));
        }
        // The records of a set have one time to live (RFC 2181 §5.2); the least is safe.
        set.ttl = set.ttl.min(record.ttl);
        set.data.push(record.data);
        Ok(())
    }

    /// The node of a name, made with the empty non-terminals above it if it is new.
    fn node(&mut self, owner: Name) -> &mut Node {
        let key = name::key(&owner);
        let mut above = owner.base_name();
        for up in name::upwards(&key).skip(1) {
            if up.len() < self.apex_key.len() || self.nodes.contains_key(up) {
                break;
            }
            let next = above.base_name();
            self.nodes.insert(up.into(), Node::empty(std::mem::replace(&mut above, next)));
        }
        self.nodes.entry(key.into()).or_insert_with(|| Node::empty(owner))
    }

    /// A CNAME stands alone at its name (RFC 2181 §10.1).
    fn misplaced_aliases(
        &self,
        places: &HashMap<(Box<[u8]>, RecordType), Place>,
    ) -> impl Iterator<Item = ZoneError> {
        self.nodes.iter().filter_map(|(key, node)| {
            node.set(RecordType::CNAME)?;
            let other = node.sets.iter().map(|set| set.rtype).find(|t| *t != RecordType::CNAME)?;
            let place = places.get(&(key.clone(), RecordType::CNAME))?;
            let reason =
                format!("a CNAME stands alone, and {} has {other} records too", node.owner);
            Some(ZoneError::at(place, reason))
        })
    }

    /// The node of a name, below cuts too: for glue.
    pub(crate) fn any_node(&self, key: &[u8]) -> Option<&Node> {
        self.nodes.get(key)
    }

    /// What the zone has for a name that is in it.
    pub(crate) fn find(&self, key: &[u8]) -> Hit<'_> {
        let mut path = [0_usize; name::LABELS_MAX];
        let mut depth = 0;
        for up in name::upwards(key) {
            if up.len() <= self.apex_key.len() || depth == path.len() {
                break;
            }
            path[depth] = key.len() - up.len();
            depth += 1;
        }
        let Some(mut node) = self.nodes.get(&self.apex_key) else { return Hit::Missing };
        let mut encloser: &[u8] = &self.apex_key;
        for start in path[..depth].iter().rev() {
            if let Some(set) = node.set(RecordType::DNAME) {
                return Hit::Dname(node, set);
            }
            let up = &key[*start..];
            let Some(child) = self.nodes.get(up) else {
                let wildcard = [b"\x01*", encloser].concat();
                return self.nodes.get(wildcard.as_slice()).map_or(Hit::Missing, Hit::Wildcard);
            };
            if child.set(RecordType::NS).is_some() {
                return Hit::Cut(child);
            }
            (node, encloser) = (child, up);
        }
        Hit::Node(node)
    }

    /// All names and sets, for checks in tests.
    #[cfg(test)]
    pub(crate) fn names(&self) -> std::collections::HashSet<String> {
        self.nodes.values().map(|node| node.owner.to_string()).collect()
    }
}

impl Node {
    fn empty(owner: Name) -> Self {
        Self { owner, role: Role::Plain, sets: Vec::new() }
    }
}

fn negative(soa: &Placed) -> RrSet {
    let minimum = match &soa.data {
        RData::SOA(SOA { minimum, .. }) => *minimum,
        _ => soa.ttl,
    };
    RrSet { rtype: RecordType::SOA, ttl: soa.ttl.min(minimum), data: vec![soa.data.clone()] }
}

/// Writing a record cannot fail later, in an answer, for anything but want of space.
fn encodes(record: &Placed) -> Result<(), ZoneError> {
    let mut octets = Vec::new();
    let mut encoder = BinEncoder::new(&mut octets);
    record
        .data
        .emit(&mut encoder)
        .map_err(|e| ZoneError::at(&record.place, format!("the record cannot be sent: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "$ORIGIN e.test.\n$TTL 300\n@ SOA ns h 1 2 3 4 30\n@ NS ns\n";

    fn zones(more: &str) -> Result<Zones, String> {
        Zones::parse(&format!("{HEAD}{more}"), Path::new("z")).map_err(|e| e.to_string())
    }

    fn hit(zones: &Zones, name: &str) -> String {
        let key = name::key(&name::parse(name.as_bytes(), None).unwrap());
        match zones.enclosing(&key).unwrap().find(&key) {
            Hit::Node(node) => format!("node {}", node.owner),
            Hit::Cut(node) => format!("cut {}", node.owner),
            Hit::Dname(node, _) => format!("dname {}", node.owner),
            Hit::Wildcard(node) => format!("wildcard {}", node.owner),
            Hit::Missing => "missing".to_owned(),
        }
    }

    #[test]
    fn finds_what_there_is() {
        let zones = zones(
            "a.b.c A 192.0.2.1\n*.w A 192.0.2.2\nx.y.w A 192.0.2.3\n\
             sub NS ns.sub\nns.sub A 192.0.2.4\nd DNAME e.test.\n",
        )
        .unwrap();
        let cases = [
            ("e.test.", "node e.test."),
            ("A.B.c.E.test.", "node a.b.c.e.test."),
            ("b.c.e.test.", "node b.c.e.test."),
            ("q.c.e.test.", "missing"),
            ("q.w.e.test.", "wildcard *.w.e.test."),
            ("r.q.w.e.test.", "wildcard *.w.e.test."),
            // The empty non-terminal y.w hides the wildcard (RFC 4592 §2.2.2).
            ("q.y.w.e.test.", "missing"),
            ("y.w.e.test.", "node y.w.e.test."),
            ("*.w.e.test.", "node *.w.e.test."),
            ("sub.e.test.", "cut sub.e.test."),
            ("ns.sub.e.test.", "cut sub.e.test."),
            ("d.e.test.", "node d.e.test."),
            ("q.d.e.test.", "dname d.e.test."),
        ];
        for (name, expected) in cases {
            assert_eq!(hit(&zones, name), expected, "{name}");
        }
    }

    #[test]
    fn mistakes_are_refused() {
        let refused = [
            ("www.other. A 192.0.2.1\n", "z:5: www.other. is outside the zone e.test."),
            ("@ SOA ns h 2 2 3 4 5\n", "z:5: a second SOA record; a file is one zone"),
            (
                "a CNAME b\na A 192.0.2.1\n",
                "z:5: a CNAME stands alone, and a.e.test. has A records too",
            ),
            ("a CNAME b\na CNAME c\n", "z:6: a second CNAME record at a.e.test."),
        ];
        for (more, message) in refused {
            assert_eq!(zones(more).unwrap_err(), message);
        }
        let several = zones("b CNAME c\nb A 192.0.2.1\nx.other. A 192.0.2.1\na CNAME b\na NS b\n");
        let lines =
            ["z:5: a CNAME stands alone", "z:7: x.other. is outside", "z:8: a CNAME stands"];
        let several = several.unwrap_err();
        assert_eq!(several.lines().count(), 3, "{several}");
        assert!(
            several.lines().zip(lines).all(|(told, start)| told.starts_with(start)),
            "{several}"
        );
        let no_ns = Zones::parse("e. 5 SOA e. e. 1 2 3 4 5\n", Path::new("z")).unwrap_err();
        assert_eq!(no_ns.to_string(), "z: the zone has no NS record at its apex, e.");
        let empty = Zones::parse("; nothing\n", Path::new("z")).unwrap_err();
        assert_eq!(empty.to_string(), "z: the zone has no SOA record");
    }

    #[test]
    fn one_set_has_one_time_to_live_and_no_doubles() {
        let zones = zones("a 60 A 192.0.2.1\na 50 A 192.0.2.2\na 70 A 192.0.2.1\n").unwrap();
        let zone = zones.enclosing(&name::key(&Name::from_ascii("e.test.").unwrap())).unwrap();
        let node = zone.any_node(&name::key(&Name::from_ascii("a.e.test.").unwrap())).unwrap();
        assert_eq!((node.sets[0].ttl, node.sets[0].data.len()), (50, 2));
        assert_eq!(zone.negative.ttl, 30);
        assert_eq!(zone.names().len(), 2);
    }

    #[test]
    fn steering_needs_a_place_in_a_zone() {
        let steer = |more: &str, host: &str| zones(more).unwrap().steer(host);
        assert!(steer("", "code.e.test").is_ok());
        assert!(steer("code A 192.0.2.1\n", "code.e.test").is_ok());
        for (more, host) in [
            ("", "code.other"),
            ("sub NS ns\n", "code.sub.e.test"),
            ("d DNAME x.\n", "code.d.e.test"),
            ("code CNAME x.\n", "code.e.test"),
        ] {
            assert!(steer(more, host).is_err(), "{more} {host}");
        }
        let here = ["192.0.2.9".parse().unwrap()];
        let cloud = |more: &str, host: &str, local: bool| {
            zones(more).unwrap().cloud(host, local, &here).map_err(|e| e.to_string())
        };
        assert_eq!(cloud("", "cloud.other", false), Ok(()));
        let alone = cloud("", "cloud.other", true).unwrap_err();
        assert!(alone.starts_with("nobody answers for cloud.other"), "{alone}");
        for fits in ["", "cloud A 192.0.2.9\n", "cloud CNAME x.\n"] {
            assert_eq!(cloud(fits, "cloud.e.test", true), Ok(()), "{fits}");
        }
        for other in
            ["cloud A 192.0.2.8\n", "cloud A 192.0.2.9\ncloud AAAA ::1\n", "* A 192.0.2.8\n"]
        {
            let told = cloud(other, "cloud.e.test", true).unwrap_err();
            assert!(told.contains("cloud.slb_addresses has others"), "{told}");
        }
    }
}
