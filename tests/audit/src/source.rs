// SPDX-License-Identifier: GPL-2.0

//! Which items of a file have unsafe code, and how much of it.

use std::collections::BTreeMap;

use anyhow::Result;
use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::visit::{self, Visit};

/// The items that say `unsafe`, by name, and how often they do. What is in macros counts as well,
/// whatever they make of it.
pub fn unsafe_items(code: &str) -> Result<BTreeMap<String, usize>> {
    let mut finder = Finder::default();
    finder.visit_file(&syn::parse_file(code)?);
    finder.found.retain(|_, uses| *uses > 0);
    Ok(finder.found)
}

#[derive(Default)]
struct Finder {
    /// The type of the `impl`, or the trait, that items are in.
    owner: Option<String>,
    found: BTreeMap<String, usize>,
}

impl Finder {
    fn add(&mut self, name: impl ToString, tokens: impl ToTokens) {
        let name = match &self.owner {
            Some(owner) => format!("{owner}::{}", name.to_string()),
            None => name.to_string(),
        };
        *self.found.entry(name).or_default() += count(tokens.to_token_stream());
    }

    fn within(&mut self, owner: String, visit: impl FnOnce(&mut Self)) {
        let outer = self.owner.replace(owner);
        visit(self);
        self.owner = outer;
    }
}

impl<'ast> Visit<'ast> for Finder {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        match item {
            syn::Item::Impl(_) | syn::Item::Trait(_) | syn::Item::Mod(_) => {
                visit::visit_item(self, item);
            }
            syn::Item::Fn(item) => self.add(&item.sig.ident, item),
            syn::Item::Static(item) => self.add(&item.ident, item),
            syn::Item::Const(item) => self.add(&item.ident, item),
            syn::Item::Type(item) => self.add(&item.ident, item),
            syn::Item::Macro(item) => {
                let name = item
                    .ident
                    .as_ref()
                    .map_or("macro".to_owned(), ToString::to_string);
                self.add(format!("{name}!"), item);
            }
            other => self.add("other", other),
        }
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let owner = base_name(&item.self_ty);
        if let Some((path, _)) = &item.trait_ {
            let implemented = path.segments.last().map(|last| last.ident.to_string());
            self.add(
                format!("impl {} for {owner}", implemented.unwrap_or_default()),
                item.unsafety,
            );
        }
        self.within(owner, |finder| visit::visit_item_impl(finder, item));
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.add(format!("trait {}", item.ident), item.unsafety);
        self.within(item.ident.to_string(), |finder| {
            visit::visit_item_trait(finder, item);
        });
    }

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        match item {
            syn::ImplItem::Fn(item) => self.add(&item.sig.ident, item),
            syn::ImplItem::Const(item) => self.add(&item.ident, item),
            other => self.add("other", other),
        }
    }

    fn visit_trait_item(&mut self, item: &'ast syn::TraitItem) {
        match item {
            syn::TraitItem::Fn(item) => self.add(&item.sig.ident, item),
            other => self.add("other", other),
        }
    }
}

/// The name of a type without what it is generic over.
fn base_name(ty: &syn::Type) -> String {
    match ty {
        syn::Type::Path(path) => path
            .path
            .segments
            .last()
            .map(|last| last.ident.to_string())
            .unwrap_or_default(),
        other => other.to_token_stream().to_string(),
    }
}

fn count(tokens: TokenStream) -> usize {
    tokens
        .into_iter()
        .map(|token| match token {
            TokenTree::Ident(word) => usize::from(word == "unsafe"),
            TokenTree::Group(group) => count(group.stream()),
            _ => 0,
        })
        .sum()
}
