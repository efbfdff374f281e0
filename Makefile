# SPDX-License-Identifier: GPL-2.0
#
# What a person calls. What the kernel's build system reads is Kbuild.

CARGO ?= cargo
KDIR ?= /lib/modules/$(shell uname -r)/build

# With MO= the kernel's build system leaves this directory as it is and puts
# what it makes there.
MO ?=

# Where packages are put together, and where modules are; the latter may be given
# by itself.
DESTDIR ?=
INSTALL_MOD_PATH ?= $(DESTDIR)

# What debuggers read is most of a module. The kernel's build system takes 1 for --strip-debug, and
# compresses as the kernel's own modules are.
INSTALL_MOD_STRIP ?= 1

prefix ?= /usr/local
mandir ?= $(prefix)/share/man

# Where iptables looks for its extensions.
xtlibdir = $(shell pkg-config --variable=xtlibdir xtables)
need_xtlibdir = test -n "$(xtlibdir)" || \
	{ echo "pkg-config does not know xtables: is libxtables-dev installed?" >&2; exit 1; }

# There, nothing is to be installed, or taken away, for a kernel without a name.
need_release = test -n "$(release)" || \
	{ echo "$(KDIR) does not say which kernel it is for: name one by KDIR=DIR." \
	"(scripts/install --uninstall takes away what is installed, for all kernels.)" >&2; exit 1; }

extension_so = $(or $(MO),libxt_connlimit)/libxt_connlimit.so
release = $(shell cat $(KDIR)/include/config/kernel.release 2>/dev/null)

kbuild = $(MAKE) -C $(KDIR) M=$(CURDIR) $(if $(MO),MO=$(abspath $(MO))) \
	$(shell scripts/kernel-variables $(KDIR))

modules:
	@scripts/check-kernel $(KDIR) $(RUSTC)
	@$(if $(MO),mkdir -p $(MO))
	+$(kbuild) modules

clippy:
	@scripts/check-kernel $(KDIR) $(RUSTC)
	@$(if $(MO),mkdir -p $(MO))
	+$(kbuild) CLIPPY=1 KRUSTFLAGS=-Dwarnings KCFLAGS=-Werror modules

# The kernel's build system leaves depmod out where there is no System.map, as in
# the headers of most distributions.
#
# In-tree xt_connlimit answers to the same aliases: scripts/modprobe.conf says
# which one is loaded. What is compressed otherwise would stay beside the new one.
modules_install:
	@scripts/check-kernel $(KDIR) $(RUSTC)
	@$(need_release)
	rm -f $(INSTALL_MOD_PATH)/lib/modules/$(release)/updates/xt_connlimit_rs.ko*
	+$(kbuild) DEPMOD=true INSTALL_MOD_PATH=$(INSTALL_MOD_PATH) \
		INSTALL_MOD_STRIP=$(INSTALL_MOD_STRIP) modules_install
	depmod $(if $(INSTALL_MOD_PATH),-b $(INSTALL_MOD_PATH)) \
		$(release)
	install -D -m 644 scripts/modprobe.conf \
		$(INSTALL_MOD_PATH)/etc/modprobe.d/xt_connlimit_rs.conf
	@$(if $(INSTALL_MOD_PATH),,scripts/install --advise $(release))

# Needs cargo, bindgen and libxtables-dev, and no network.
extension:
	cd libxt_connlimit && $(CARGO) build --release --locked --offline \
		--target-dir $(if $(MO),$(abspath $(MO))/extension,target)
	cp $(if $(MO),$(MO)/extension,libxt_connlimit/target)/release/libxt_connlimit.so \
		$(extension_so)

install: modules extension
	@$(need_xtlibdir)
	$(MAKE) modules_install
	DESTDIR=$(DESTDIR) scripts/extension install $(extension_so) $(DESTDIR)$(xtlibdir)
	install -D -m 644 libxt_connlimit/libxt_connlimit.8 $(DESTDIR)$(mandir)/man8/libxt_connlimit.8

uninstall:
	@$(need_release)
	@$(need_xtlibdir)
	rm -f $(INSTALL_MOD_PATH)/lib/modules/$(release)/updates/xt_connlimit_rs.ko*
	depmod $(if $(INSTALL_MOD_PATH),-b $(INSTALL_MOD_PATH)) $(release)
	rm -f $(INSTALL_MOD_PATH)/etc/modprobe.d/xt_connlimit_rs.conf
	DESTDIR=$(DESTDIR) scripts/extension uninstall $(DESTDIR)$(xtlibdir)
	rm -f $(DESTDIR)$(mandir)/man8/libxt_connlimit.8

clean:
	+$(kbuild) clean
	rm -rf libxt_connlimit/target libxt_connlimit/libxt_connlimit.so

test:
	@KERNELS=$(or $(KERNELS),debian) scripts/test $(or $(T),$(if $(ALL),--all))

demo:
	@scripts/demo

soak:
	@scripts/soak $(SECONDS)

bench:
	@scripts/bench

help:
	@echo 'Building:'
	@echo '  modules          xt_connlimit_rs.ko (default)'
	@echo '  extension        libxt_connlimit.so, for iptables'
	@echo '  modules_install  install the module, so that iptables loads it by itself'
	@echo '  install          both of them, and the manual page of the extension'
	@echo '  uninstall        take them away again'
	@echo '  clippy           lint the module'
	@echo '  clean            take away what the build made'
	@echo 'Trying:'
	@echo '  bench            measure what packets cost, beside the in-tree match'
	@echo '  demo             show it limiting connections, in a virtual machine'
	@echo '  soak             have all happen at once on the debug kernel, for 20 minutes'
	@echo '  test             run all tests'
	@echo 'Variables:'
	@echo '  KDIR=DIR              kernel to build for ($(KDIR))'
	@echo '  MO=DIR                put what is built there'
	@echo '  RUSTC=FILE            rustc to build with'
	@echo '  DESTDIR=DIR           install below it'
	@echo '  INSTALL_MOD_PATH=DIR  install the module below it'
	@echo '  prefix=DIR            where the manual page goes ($(prefix))'
	@echo '  T=NAME                run the tests whose names contain it'
	@echo '  KERNELS=all           run tests on a second kernel and on one that looks for mistakes, too'
	@echo '  SECONDS=N            how long the soak takes on four CPUs, and again on two (600)'
	@echo '  ALL=yes               run each test in all variants, as .ci/run does'

.PHONY: modules modules_install clippy extension install uninstall clean test demo bench soak help
