// SPDX-License-Identifier: GPL-2.0

//! Where C calls: what iptables is told when it loads the library, and what it calls then.

use core::cell::UnsafeCell;
use core::ffi::{c_char, c_int, c_uint, c_void, CStr};
use core::mem;
use core::ptr;
use core::sync::atomic::{AtomicU32, Ordering};

use crate::bindings::*;
use crate::info::Info;
use crate::mask::Family;
use crate::options::{self, Given, Opt, Revision, Taken};
use crate::rule::Rule;
use crate::show::{Listed, Saved};
use crate::text::Text;
use crate::translate::{Set, Statement};

/// Longer than anything that is said of a rule.
type Line = Text<512>;

const VERSION: &CStr = match CStr::from_bytes_with_nul(XTABLES_VERSION) {
    Ok(version) => version,
    Err(_) => panic!("the version of xtables.h is no string"),
};

const HELP: &CStr =
    match CStr::from_bytes_with_nul(concat!(include_str!("help.txt"), "\0").as_bytes()) {
        Ok(help) => help,
        Err(_) => panic!("the help has a NUL"),
    };

/// The family that iptables calls for, by the functions that were registered for it.
trait Registered {
    const FAMILY: Family;
}

struct Ipv4;
struct Ipv6;

impl Registered for Ipv4 {
    const FAMILY: Family = Family::Ipv4;
}

impl Registered for Ipv6 {
    const FAMILY: Family = Family::Ipv6;
}

/// Ends iptables with a message, as extensions do that cannot go on.
pub fn fail(status: xtables_exittype, message: &CStr) -> ! {
    // SAFETY: `xt_params` is set before any extension is loaded and points to a global of the
    // program; `exit_err` takes a format and what that asks for, which is one string.
    unsafe {
        match xt_params.as_ref().and_then(|params| params.exit_err) {
            Some(exit_err) => exit_err(status, c"%s".as_ptr(), message.as_ptr()),
            None => abort(),
        }
    }
}

fn print(text: &CStr) {
    // SAFETY: `%s` asks for one string.
    unsafe { printf(c"%s".as_ptr(), text.as_ptr()) };
}

const _: () = assert!(XT_CONNLIMIT_INVERT == Info::INVERT && XT_CONNLIMIT_DADDR == Info::DADDR);

fn read(raw: &xt_connlimit_info) -> Info {
    // SAFETY: all members of the union are plain bytes, and this one is as long as the union.
    let words = unsafe { raw.__bindgen_anon_1.mask.all };
    let mut mask = [0; 16];
    for (bytes, word) in mask.chunks_exact_mut(4).zip(words) {
        // In network order, wherever it came from.
        bytes.copy_from_slice(&word.to_ne_bytes());
    }
    Info {
        mask,
        limit: raw.limit,
        flags: raw.flags,
    }
}

fn write(raw: &mut xt_connlimit_info, info: Info) {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(info.mask.chunks_exact(4)) {
        if let Ok(bytes) = bytes.try_into() {
            *word = u32::from_ne_bytes(bytes);
        }
    }
    raw.__bindgen_anon_1.mask.all = words;
    raw.limit = info.limit;
    raw.flags = info.flags;
}

/// The rule that a match of C's tells, and the revision it is in.
///
/// # Safety
///
/// `entry` must point to a match of this extension, with its data.
unsafe fn rule_in(family: Family, entry: *const xt_entry_match) -> (Rule, Revision) {
    // SAFETY: by this function's contract there is a header, and behind it what registration says
    // by `size`. The data of a rule that came from the kernel need not be aligned.
    let (revision, raw) = unsafe {
        let data = ptr::addr_of!((*entry).data).cast::<xt_connlimit_info>();
        (
            ptr::addr_of!((*entry).u.user.revision).read(),
            data.read_unaligned(),
        )
    };
    (read(&raw).rule(family), revision_of(revision))
}

fn revision_of(number: u8) -> Revision {
    if number == 0 {
        Revision::Zero
    } else {
        Revision::One
    }
}

unsafe extern "C" fn help() {
    print(HELP);
}

unsafe extern "C" fn init(entry: *mut xt_entry_match) {
    // SAFETY: iptables has allocated the match with `size` bytes of data, all zero, and calls this
    // before anything else looks at it. Its data are aligned as XT_ALIGN has it.
    let raw = unsafe { &mut *ptr::addr_of_mut!((*entry).data).cast::<xt_connlimit_info>() };
    write(raw, Info::BLANK);
}

/// Takes the option that getopt_long(3) has found, and says whether it is one of ours.
unsafe extern "C" fn parse<F: Registered>(
    id: c_int,
    _: *mut *mut c_char,
    inverted: c_int,
    flags: *mut c_uint,
    _: *const c_void,
    entry: *mut *mut xt_entry_match,
) -> c_int {
    let Some(option) = Opt::from_id(id) else {
        return 0;
    };
    let value = if option.has_value() {
        // SAFETY: it was registered as an option that takes a value, which getopt_long has found: a
        // string that lives as long as the program.
        unsafe { CStr::from_ptr(optarg) }
    } else {
        c""
    };
    // SAFETY: iptables hands in its word for the rule's options and the match that `init` has seen,
    // whose data are aligned as XT_ALIGN has it; nothing else uses either until this returns.
    let (taken, raw, revision) = unsafe {
        let entry = *entry;
        let raw = &mut *ptr::addr_of_mut!((*entry).data).cast::<xt_connlimit_info>();
        (&mut *flags, raw, revision_of((*entry).u.user.revision))
    };
    let given = Given {
        value: value.to_bytes(),
        inverted: inverted != 0,
    };
    let mut info = read(raw);
    match info.take(F::FAMILY, revision, Taken(*taken), option, given) {
        Ok(Taken(now)) => {
            *taken = now;
            write(raw, info);
        }
        Err(refusal) => fail(PARAMETER_PROBLEM, Line::of(refusal).as_c_str()),
    }
    1
}

unsafe extern "C" fn check(flags: c_uint) {
    if let Err(refusal) = options::check(Taken(flags)) {
        fail(PARAMETER_PROBLEM, Line::of(refusal).as_c_str());
    }
}

unsafe extern "C" fn list<F: Registered>(_: *const c_void, entry: *const xt_entry_match, _: c_int) {
    // SAFETY: iptables hands in matches of the extension that it asks.
    let (rule, _) = unsafe { rule_in(F::FAMILY, entry) };
    print(Line::of(Listed(rule)).as_c_str());
}

unsafe extern "C" fn save<F: Registered>(_: *const c_void, entry: *const xt_entry_match) {
    // SAFETY: iptables hands in matches of the extension that it asks.
    let (rule, revision) = unsafe { rule_in(F::FAMILY, entry) };
    print(Line::of(Saved(rule, revision)).as_c_str());
}

/// Sets of one run must not have the same name.
static NEXT_SET: AtomicU32 = AtomicU32::new(0);

unsafe extern "C" fn translate<F: Registered>(
    xl: *mut xt_xlate,
    params: *const xt_xlate_mt_params,
) -> c_int {
    // SAFETY: `xl` is what a translation is collected in.
    if u32::from(unsafe { xt_xlate_get_family(xl) }) == NFPROTO_UNSPEC {
        // `nft list` asks, which sets no family and prints no sets: the statement would name one that
        // is not there. Told that there is no translation, it prints `xt match "connlimit"`.
        return 0;
    }
    // SAFETY: iptables hands in matches of the extension that it asks.
    let (rule, _) = unsafe { rule_in(F::FAMILY, (*params).match_) };
    let number = NEXT_SET.fetch_add(1, Ordering::Relaxed);
    let set = Line::of(Set(rule, number));
    let statement = Line::of(Statement(rule, number));
    // SAFETY: `xl` is what iptables collects the translation in; `%s` asks for one string.
    unsafe {
        xt_xlate_set_add(xl, c"%s".as_ptr(), set.as_c_str().as_ptr());
        xt_xlate_add(xl, c"%s".as_ptr(), statement.as_c_str().as_ptr());
    }
    1
}

/// What libxtables is told of once, and keeps a pointer to.
#[repr(transparent)]
struct ForC<T>(UnsafeCell<T>);

// SAFETY: iptables has one thread, and but for `register`, only it touches what is in there.
unsafe impl<T> Sync for ForC<T> {}

const fn long_option(option: Opt) -> option {
    option {
        name: option.name().as_ptr(),
        has_arg: if option.has_value() { 1 } else { 0 },
        flag: ptr::null_mut(),
        val: option.id(),
    }
}

/// As getopt_long(3) wants them. libxtables has a table that says more, but its layout is not the same
/// in all versions that the library is to work with.
static OPTIONS: ForC<[option; Opt::ALL.len() + 1]> = ForC(UnsafeCell::new([
    long_option(Opt::Upto),
    long_option(Opt::Above),
    long_option(Opt::Mask),
    long_option(Opt::Saddr),
    long_option(Opt::Daddr),
    option {
        name: ptr::null(),
        has_arg: 0,
        flag: ptr::null_mut(),
        val: 0,
    },
]));

const fn entry<F: Registered>(family: u32, revision: u8) -> xtables_match {
    xtables_match {
        version: VERSION.as_ptr(),
        name: c"connlimit".as_ptr(),
        revision,
        family: family as u16,
        size: CONNLIMIT_SIZE as usize,
        userspacesize: CONNLIMIT_USERSPACE_SIZE as usize,
        help: Some(help),
        init: Some(init),
        print: Some(list::<F>),
        save: Some(save::<F>),
        parse: Some(parse::<F>),
        final_check: Some(check),
        extra_opts: OPTIONS.0.get().cast::<option>(),
        xlate: Some(translate::<F>),
        // SAFETY: null pointers, no functions and zeros are values that all members have.
        ..unsafe { mem::zeroed() }
    }
}

/// iptables takes the highest revision that the kernel has.
static MATCHES: ForC<[xtables_match; 4]> = ForC(UnsafeCell::new([
    entry::<Ipv4>(NFPROTO_IPV4, 0),
    entry::<Ipv6>(NFPROTO_IPV6, 0),
    entry::<Ipv4>(NFPROTO_IPV4, 1),
    entry::<Ipv6>(NFPROTO_IPV6, 1),
]));

extern "C" fn register() {
    let matches = MATCHES.0.get();
    // SAFETY: libxtables links the matches into its lists and writes to them there: they are never
    // touched here again, and are gone only when the library is unloaded, as iptables ends.
    unsafe { xtables_register_matches(matches.cast(), 4) };
}

/// What the dynamic loader calls when it has loaded the library.
#[used]
#[link_section = ".init_array"]
static REGISTER: extern "C" fn() = register;
