//! What holds for every packet, client and share.

use std::net::IpAddr;
use std::sync::LazyLock;

use hickory_proto::op::Message;
use hickory_proto::rr::RecordType;
use proptest::prelude::*;

use super::support::{Ask, addresses, echoed, snapshot, truncated};
use crate::{Outcome, Snapshot, Transport, answer, explain};

static HALF: LazyLock<Snapshot> = LazyLock::new(|| snapshot(0.5));

const TYPES: [RecordType; 9] = [
    RecordType::A,
    RecordType::AAAA,
    RecordType::NS,
    RecordType::TXT,
    RecordType::ANY,
    RecordType::CNAME,
    RecordType::DS,
    RecordType::DNAME,
    RecordType::Unknown(731),
];

fn client() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u8; 16]>().prop_map(IpAddr::from),
        // IPv4-mapped addresses, and those that share many of their bits.
        (0_u8..=128, any::<[u8; 16]>(), any::<[u8; 4]>()).prop_map(
            |(bits, other, [a, b, c, d])| {
                let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d];
                let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
                let mixed = u128::from_be_bytes(mapped) & mask | u128::from_be_bytes(other) & !mask;
                IpAddr::from(mixed.to_be_bytes())
            }
        ),
    ]
}

fn bits_max(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// Names in and around the zone.
fn name() -> impl Strategy<Value = String> {
    const LABELS: [&str; 12] =
        ["code", "www", "Alias", "loop", "old", "sub", "wild", "*", "big", "x", "er", "deep"];
    (prop::collection::vec(prop::sample::select(&LABELS[..]), 0..4), prop::bool::weighted(0.9))
        .prop_map(|(labels, ours)| {
            let zone = if ours { "example.test." } else { "test." };
            labels.iter().map(|label| format!("{label}.")).collect::<String>() + zone
        })
}

fn ask() -> impl Strategy<Value = Ask> {
    let subnet = prop::option::of((client(), 0_u8..=128));
    let rtype = prop::sample::select(&TYPES[..]);
    (name(), rtype, client(), prop::option::of(0_u16..5000), subnet).prop_map(
        |(name, rtype, source, payload, subnet)| {
            let subnet = subnet.map(|(address, bits)| (address, bits % (bits_max(address) + 1)));
            Ask { source, payload, subnet, ..Ask::new(&name, rtype) }
        },
    )
}

/// What holds for the response to any packet.
fn check(packet: &[u8], source: IpAddr, limit: usize) -> Result<(), TestCaseError> {
    let mut out = Vec::new();
    match answer(packet, source, Transport::Udp, &HALF, &mut out) {
        Outcome::Dropped => {
            prop_assert!(packet.len() < 12 || packet[2] & 0x80 != 0);
            prop_assert!(out.is_empty());
        }
        _ => {
            prop_assert!(out.len() <= limit, "{} octets", out.len());
            prop_assert_eq!(&out[..2], &packet[..2]);
            prop_assert_eq!(out[2] & 0x80, 0x80);
            prop_assert!(Message::from_vec(&out).is_ok());
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_octets_are_survived(packet in prop::collection::vec(any::<u8>(), 0..300), source in client()) {
        check(&packet, source, 1232)?;
    }

    #[test]
    fn damaged_queries_are_survived(
        ask in ask(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        end in any::<prop::sample::Index>(),
        cut in prop::bool::weighted(0.3),
    ) {
        let mut packet = ask.packet();
        for (at, octet) in damage {
            let at = at.index(packet.len());
            packet[at] = octet;
        }
        if cut {
            packet.truncate(end.index(packet.len()));
        }
        check(&packet, ask.source, 1232)?;
    }

    #[test]
    fn responses_keep_to_the_limit_and_to_the_question(ask in ask()) {
        let edns = ask.payload.is_some() || ask.subnet.is_some();
        let offered = usize::from(ask.payload.unwrap_or(1232)).clamp(512, 1232);
        check(&ask.packet(), ask.source, if edns { offered } else { 512 })?;
        let (_, message) = ask.answer(&HALF);
        prop_assert_eq!(message.queries.len(), 1);
        prop_assert_eq!(message.queries[0].name().to_ascii(), &*ask.name);
        prop_assert_eq!(message.edns.is_some(), edns);
        if message.metadata.truncation {
            prop_assert!(message.answers.is_empty() && message.authorities.is_empty());
            let whole = Ask { transport: Transport::Tcp, ..ask.clone() };
            prop_assert!(!whole.answer(&HALF).1.metadata.truncation);
        }
        let sent = ask.subnet.map(|(address, bits)| (truncated(address, bits), bits));
        let back = echoed(&message).map(|subnet| (subnet.addr(), subnet.source_prefix()));
        prop_assert_eq!(sent, back);
    }

    #[test]
    fn raising_a_share_moves_no_client_back(client in client(), a in 0.0..=1.0, b in 0.0..=1.0) {
        let (low, high) = if a < b { (a, b) } else { (b, a) };
        let to_cloud = |share| {
            let ask = Ask { source: client, ..Ask::new("code.example.test.", RecordType::A) };
            ask.answer(&snapshot(share)).0 == Outcome::ToCloud
        };
        prop_assert!(!to_cloud(low) || to_cloud(high));
    }

    #[test]
    fn an_explanation_is_what_is_answered(client in client()) {
        let ask = |rtype| Ask { source: client, ..Ask::new("code.example.test.", rtype) };
        let (outcome, v4) = ask(RecordType::A).answer(&HALF);
        let (_, v6) = ask(RecordType::AAAA).answer(&HALF);
        let explained = explain(&HALF, client);
        prop_assert_eq!(explained.to_cloud, outcome == Outcome::ToCloud);
        prop_assert_eq!(explained.to_cloud, explained.rank < explained.share.get());
        prop_assert_eq!(explained.addresses, [addresses(&v4), addresses(&v6)].concat());
        prop_assert_eq!(explained.ttl_secs, v4.answers[0].ttl);
    }

    #[test]
    fn every_address_in_a_scope_gets_the_same_answer(
        client in client(),
        bits in 0_u8..=128,
        other in any::<[u8; 16]>(),
        rtype in prop::sample::select(&[RecordType::A, RecordType::AAAA][..]),
    ) {
        let bits = 1 + bits % bits_max(client);
        let ask = Ask::new("www.example.test.", rtype).subnet(client, bits);
        let (outcome, message) = ask.answer(&HALF);
        let scope = echoed(&message).map_or(0, |subnet| subnet.scope_prefix());
        prop_assert!((1..=bits_max(client)).contains(&scope));
        // Any address of the scope: the sent prefix padded with zeros, then other bits past the scope.
        let within = match truncated(truncated(client, bits), scope) {
            IpAddr::V4(v4) => {
                let [a, b, c, d, ..] = other;
                let past = u32::from_be_bytes([a, b, c, d]) & u32::MAX.checked_shr(scope.into()).unwrap_or(0);
                IpAddr::from((v4.to_bits() | past).to_be_bytes())
            }
            IpAddr::V6(v6) => {
                let past = u128::from_be_bytes(other) & u128::MAX.checked_shr(scope.into()).unwrap_or(0);
                IpAddr::from((v6.to_bits() | past).to_be_bytes())
            }
        };
        let whole = Ask::new("www.example.test.", rtype).subnet(within, bits_max(client));
        let (same_outcome, same) = whole.answer(&HALF);
        prop_assert_eq!(outcome, same_outcome);
        prop_assert_eq!(addresses(&message), addresses(&same));
        prop_assert_eq!(&message.answers, &same.answers);
        prop_assert_eq!(&message.authorities, &same.authorities);
        // The socket's address steers as the subnet does.
        let by_socket = Ask { source: within, ..Ask::new("www.example.test.", rtype) };
        prop_assert_eq!(&message.answers, &by_socket.answer(&HALF).1.answers);
    }
}
