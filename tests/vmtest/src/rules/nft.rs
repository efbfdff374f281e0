// SPDX-License-Identifier: GPL-2.0

//! The tables of nf_tables that iptables-nft makes.

use anyhow::{Context, Result};
use netlink_packet_core::{NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE};

use super::Chain;
use crate::netlink::{attribute, attributes, Attributes, Netlink, Request};
use crate::variant::Family;

const SUBSYSTEM: u8 = 10;
const NEWRULE: u8 = 6;
const GETRULE: u8 = 7;
const DELRULE: u8 = 8;
const DELTABLE: u8 = 2;
/// Messages of no subsystem, around a transaction.
const BATCH: u8 = 0;
const BATCH_BEGIN: u8 = 16;
const BATCH_END: u8 = 17;

const NFTA_TABLE_NAME: u16 = 1;
const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_HANDLE: u16 = 3;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_COUNTER_PACKETS: u16 = 2;
const NFTA_MATCH_NAME: u16 = 1;
const NFTA_MATCH_REV: u16 = 2;
const NFTA_MATCH_INFO: u16 = 3;

/// One part of a rule: its name and its attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Expression {
    name: String,
    data: Vec<u8>,
}

/// A connlimit match within a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    pub revision: u32,
    pub info: Vec<u8>,
}

/// A rule of a chain, as the kernel tells it.
#[derive(Clone, Debug)]
pub struct Rule {
    family: Family,
    table: String,
    chain: Chain,
    /// Names it in its chain, where it is in one.
    handle: Option<Vec<u8>>,
    expressions: Vec<Expression>,
}

/// What a rule does, not what it is called by.
impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        let content = |rule: &Self| {
            (
                rule.family,
                rule.table.clone(),
                rule.chain,
                rule.expressions.clone(),
            )
        };
        content(self) == content(other)
    }
}

fn string(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.strip_suffix(&[0]).unwrap_or(bytes)).into_owned()
}

/// The rules of a chain, in their order.
pub fn rules(family: Family, table: &str, chain: Chain) -> Result<Vec<Rule>> {
    let mut request = Request::netfilter(SUBSYSTEM, GETRULE, family.number(), 0);
    request.attributes = Attributes::default()
        .put_str(NFTA_RULE_TABLE, table)
        .put_str(NFTA_RULE_CHAIN, chain.name());
    let mut rules = Vec::new();
    for message in Netlink::netfilter()?.dump(request)? {
        let list = attribute(&message, NFTA_RULE_EXPRESSIONS).unwrap_or_default();
        let mut expressions = Vec::new();
        for element in attributes(&list) {
            let element = element?;
            let name = attribute(element.value(), NFTA_EXPR_NAME).context("no name")?;
            expressions.push(Expression {
                name: string(&name),
                data: attribute(element.value(), NFTA_EXPR_DATA).unwrap_or_default(),
            });
        }
        rules.push(Rule {
            family,
            table: table.to_owned(),
            chain,
            handle: attribute(&message, NFTA_RULE_HANDLE),
            expressions,
        });
    }
    Ok(rules)
}

/// How many packets each rule of a chain has matched.
pub fn packets(family: Family, table: &str, chain: Chain) -> Result<Vec<u64>> {
    rules(family, table, chain)?
        .iter()
        .map(|rule| rule.packets().context("a rule without counter"))
        .collect()
}

/// Takes all rules out of some chains of tables.
pub fn flush(family: Family, places: &[(&str, Chain)]) -> Result<()> {
    let requests = places.iter().map(|(table, chain)| {
        let mut request = Request::netfilter(SUBSYSTEM, DELRULE, family.number(), 0);
        request.flags = NLM_F_ACK;
        request.attributes = Attributes::default()
            .put_str(NFTA_RULE_TABLE, table)
            .put_str(NFTA_RULE_CHAIN, chain.name());
        request
    });
    commit(requests)
}

/// Takes a table away, with all that is in it.
pub fn delete_table(family: Family, table: &str) -> Result<()> {
    let mut request = Request::netfilter(SUBSYSTEM, DELTABLE, family.number(), 0);
    request.flags = NLM_F_ACK;
    request.attributes = Attributes::default().put_str(NFTA_TABLE_NAME, table);
    commit([request]).with_context(|| format!("nft delete table {table}"))
}

/// Has all of it done, or nothing.
fn commit(requests: impl IntoIterator<Item = Request>) -> Result<()> {
    let begin = Request::netfilter(BATCH, BATCH_BEGIN, 0, SUBSYSTEM.into());
    let end = Request::netfilter(BATCH, BATCH_END, 0, SUBSYSTEM.into());
    let batch: Vec<_> = [begin].into_iter().chain(requests).chain([end]).collect();
    Netlink::netfilter()?.transact(&batch)
}

fn match_data(name: &[u8], of: &Match) -> Vec<u8> {
    Attributes::default()
        .put(NFTA_MATCH_NAME, &[name, &[0]].concat())
        .put(NFTA_MATCH_REV, &of.revision.to_be_bytes())
        .put(NFTA_MATCH_INFO, &of.info)
        .into_bytes()
}

impl Rule {
    /// One that has a match and nothing else.
    pub fn of_match(family: Family, table: &str, chain: Chain, name: &[u8], of: &Match) -> Self {
        Self {
            family,
            table: table.to_owned(),
            chain,
            handle: None,
            expressions: vec![Expression {
                name: "match".to_owned(),
                data: match_data(name, of),
            }],
        }
    }

    fn packets(&self) -> Option<u64> {
        let counter = self.expressions.iter().find(|e| e.name == "counter")?;
        let packets = attribute(&counter.data, NFTA_COUNTER_PACKETS)?;
        Some(u64::from_be_bytes(*packets.first_chunk()?))
    }

    /// The rule's match of this name.
    pub fn find_match(&self, name: &str) -> Option<Match> {
        let index = self.match_index(name)?;
        let data = &self.expressions[index].data;
        let revision = attribute(data, NFTA_MATCH_REV)?;
        Some(Match {
            revision: u32::from_be_bytes(*revision.first_chunk()?),
            info: attribute(data, NFTA_MATCH_INFO)?,
        })
    }

    pub fn set_match(&mut self, name: &str, new: &Match) -> Result<()> {
        let index = self.match_index(name).context("no such match")?;
        self.expressions[index].data = match_data(name.as_bytes(), new);
        Ok(())
    }

    fn match_index(&self, name: &str) -> Option<usize> {
        self.expressions.iter().position(|expression| {
            expression.name == "match"
                && attribute(&expression.data, NFTA_MATCH_NAME)
                    .is_some_and(|found| string(&found) == name)
        })
    }

    /// Appends a copy of this rule to its chain.
    pub fn append(&self) -> Result<()> {
        let mut list = Attributes::default();
        for expression in &self.expressions {
            let element = Attributes::default()
                .put_str(NFTA_EXPR_NAME, &expression.name)
                .nest_bytes(NFTA_EXPR_DATA, &expression.data);
            list = list.nest(NFTA_LIST_ELEM, element);
        }
        let mut rule = Request::netfilter(SUBSYSTEM, NEWRULE, self.family.number(), 0);
        rule.flags = NLM_F_CREATE | NLM_F_APPEND | NLM_F_ACK;
        rule.attributes = Attributes::default()
            .put_str(NFTA_RULE_TABLE, &self.table)
            .put_str(NFTA_RULE_CHAIN, self.chain.name())
            .nest(NFTA_RULE_EXPRESSIONS, list);
        commit([rule])
    }

    /// Takes the rule out of its chain.
    pub fn delete(&self) -> Result<()> {
        let handle = self.handle.as_ref().context("it is in no chain")?;
        let mut request = Request::netfilter(SUBSYSTEM, DELRULE, self.family.number(), 0);
        request.flags = NLM_F_ACK;
        request.attributes = Attributes::default()
            .put_str(NFTA_RULE_TABLE, &self.table)
            .put_str(NFTA_RULE_CHAIN, self.chain.name())
            .put(NFTA_RULE_HANDLE, handle);
        commit([request])
    }
}
