//! Packets at the edge of the protocol, octet by octet.

use std::net::IpAddr;

use super::support::{Ask, snapshot};
use crate::{Outcome, Transport, answer};
use hickory_proto::rr::RecordType;

const FORMERR: u8 = 1;
const NOTIMP: u8 = 4;
const REFUSED: u8 = 5;

fn sent(packet: &[u8]) -> (Outcome, Vec<u8>) {
    let mut out = vec![0xff; 3];
    let source = IpAddr::from([203, 0, 113, 1]);
    (answer(packet, source, Transport::Udp, &snapshot(0.0), &mut out), out)
}

/// A query for the A records of mail.example.test with these records behind the question.
fn query(additional: &[&[u8]]) -> Vec<u8> {
    let mut packet = Ask::new("mail.example.test.", RecordType::A).packet();
    packet[11] = u8::try_from(additional.len()).unwrap();
    packet.extend(additional.concat());
    packet
}

fn opt(version: u8, options: &[u8]) -> Vec<u8> {
    let length = u8::try_from(options.len()).unwrap();
    let mut opt = vec![0, 0, 41, 4, 208, 0, version, 0x80, 0, 0, length];
    opt.extend(options);
    opt
}

fn code(response: &[u8]) -> u8 {
    response[3] & 15
}

#[test]
fn what_is_no_query_gets_no_answer() {
    let query = query(&[]);
    for length in 0..12 {
        assert_eq!(sent(&query[..length]), (Outcome::Dropped, vec![]));
    }
    let mut response = query;
    response[2] |= 0x80;
    assert_eq!(sent(&response), (Outcome::Dropped, vec![]));
}

#[test]
fn malformed_queries_are_answered_with_a_header() {
    let good = query(&[]);
    let mut cases =
        vec![("header only", good[..12].to_vec()), ("trailing octet", [&good[..], &[0]].concat())];
    for length in 13..good.len() {
        cases.push(("cut short", good[..length].to_vec()));
    }
    let changed = |at: usize, octet: u8| {
        let mut packet = good.clone();
        packet[at] = octet;
        packet
    };
    cases.push(("no question", changed(5, 0)));
    cases.push(("two questions", changed(5, 2)));
    cases.push(("an answer that is not there", changed(7, 1)));
    cases.push(("a pointer in the question", changed(12, 0xc0)));
    cases.push(("a reserved label type", changed(12, 0x40)));
    cases.push(("two OPT records", query(&[&opt(0, &[]), &opt(0, &[])])));
    let mut owned = opt(0, &[]);
    owned.splice(0..1, *b"\x01a\x00");
    cases.push(("an OPT record with an owner", query(&[&owned])));
    cases.push(("an option longer than its record", query(&[&opt(0, &[0, 3, 0, 1])])));
    let subnet = [0, 8, 0, 7, 0, 1, 24, 0, 192, 0, 2];
    cases.push(("two client subnets", query(&[&opt(0, &[subnet, subnet].concat())])));
    cases.push(("a subnet with bits past its prefix", {
        query(&[&opt(0, &[0, 8, 0, 7, 0, 1, 23, 0, 192, 0, 3])])
    }));
    for (why, packet) in cases {
        let (outcome, out) = sent(&packet);
        assert_eq!((outcome, code(&out)), (Outcome::Malformed, FORMERR), "{why}");
        assert_eq!(out[..2], packet[..2], "{why}: identifier");
        assert_eq!(out[2], 0x81, "{why}: a response, not authoritative, RD copied");
        assert_eq!(out[6..10], [0; 4], "{why}: no records");
    }
}

#[test]
fn other_opcodes_are_not_implemented() {
    for opcode in 1..16 {
        let mut packet = query(&[]);
        packet[2] = opcode << 3;
        let (outcome, out) = sent(&packet);
        assert_eq!((outcome, code(&out), out.len()), (Outcome::Plain, NOTIMP, 12));
        assert_eq!(out[2], 0x80 | opcode << 3);
    }
}

#[test]
fn classes_but_in_and_any_are_refused() {
    let asked = |class: u8| {
        let mut packet = query(&[]);
        *packet.last_mut().unwrap() = class;
        code(&sent(&packet).1)
    };
    assert_eq!([1, 255, 3, 254, 0].map(asked), [0, 0, REFUSED, REFUSED, REFUSED]);
}

#[test]
fn other_versions_of_edns_are_told_ours() {
    // The options of an unknown version are not read, whatever they hold.
    let (outcome, out) = sent(&query(&[&opt(1, &[0, 8, 0, 9])]));
    assert_eq!((outcome, code(&out)), (Outcome::Plain, 0));
    // BADVERS is 16: its upper octet is the OPT record's; version 0, DO copied.
    assert_eq!(out[out.len() - 11..], [0, 0, 41, 4, 208, 1, 0, 0x80, 0, 0, 0]);
    assert_eq!(out[6..12], [0, 0, 0, 0, 0, 1]);
}

#[test]
fn unknown_options_and_records_are_passed_over() {
    let cookie = [0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8];
    let other = [&b"\xc0\x0c"[..], &[0, 16, 0, 1, 0, 0, 0, 9, 0, 2, 1, b'x']].concat();
    let (outcome, out) = sent(&query(&[&other, &opt(0, &cookie)]));
    assert_eq!((outcome, code(&out)), (Outcome::Plain, 0));
    assert_eq!(out[6..8], [0, 1]);
}

#[test]
fn a_subnet_of_length_zero_is_echoed_as_sent() {
    for family in [0, 1, 2] {
        let option = [0, 8, 0, 4, 0, family, 0, 0];
        let (outcome, out) = sent(&query(&[&opt(0, &option)]));
        assert_eq!((outcome, code(&out)), (Outcome::Plain, 0));
        assert_eq!(out[out.len() - 8..], option);
    }
}
