# SPDX-License-Identifier: GPL-2.0
#
# What a person calls. What the kernel's build system reads is Kbuild.

CARGO ?= cargo
KDIR ?= /lib/modules/$(shell uname -r)/build

# With MO= the kernel's build system leaves this directory as it is and puts
# what it makes there.
MO ?=

kbuild = $(MAKE) -C $(KDIR) M=$(CURDIR) $(if $(MO),MO=$(abspath $(MO))) \
	$(shell scripts/kernel-variables $(KDIR))

modules:
	@scripts/check-kernel $(KDIR) $(RUSTC)
	@$(if $(MO),mkdir -p $(MO))
	+$(kbuild) modules

clippy:
	@scripts/check-kernel $(KDIR) $(RUSTC)
	@$(if $(MO),mkdir -p $(MO))
	+$(kbuild) CLIPPY=1 KRUSTFLAGS=-Dwarnings modules

# The kernel's build system leaves depmod out where there is no System.map, as in
# the headers of most distributions.
#
# In-tree xt_connlimit answers to the same aliases: without the second file
# `iptables -m connlimit` would load both, and which one serves a rule would
# depend on which came last.
modules_install:
	@scripts/check-kernel $(KDIR) $(RUSTC)
	+$(kbuild) DEPMOD=true modules_install
	depmod $(if $(INSTALL_MOD_PATH),-b $(INSTALL_MOD_PATH)) \
		$(shell cat $(KDIR)/include/config/kernel.release)
	install -D -m 644 scripts/modprobe.conf \
		$(INSTALL_MOD_PATH)/etc/modprobe.d/xt_connlimit_rs.conf

# Needs cargo, bindgen and libxtables-dev, and no network.
extension:
	cd libxt_connlimit && $(CARGO) build --release --locked --offline \
		--target-dir $(if $(MO),$(abspath $(MO))/extension,target)
	cp $(if $(MO),$(MO)/extension,libxt_connlimit/target)/release/libxt_connlimit.so \
		$(if $(MO),$(MO),libxt_connlimit)/

clean:
	+$(kbuild) clean
	rm -rf libxt_connlimit/target libxt_connlimit/libxt_connlimit.so

test:
	@scripts/test $(or $(T),$(if $(ALL),--all))

demo:
	@scripts/demo

bench:
	@scripts/bench

help:
	@echo 'Building:'
	@echo '  modules          xt_connlimit_rs.ko (default)'
	@echo '  modules_install  install it, so that iptables loads it by itself'
	@echo '  clippy           lint the module'
	@echo '  extension        libxt_connlimit.so, for iptables'
	@echo '  clean            take away what the build made'
	@echo 'Trying:'
	@echo '  bench            measure what packets cost, beside the in-tree match'
	@echo '  demo             show it limiting connections, in a virtual machine'
	@echo '  test             run all tests'
	@echo 'Variables:'
	@echo '  KDIR=DIR              kernel to build for ($(KDIR))'
	@echo '  MO=DIR                put what is built there'
	@echo '  RUSTC=FILE            rustc to build with'
	@echo '  INSTALL_MOD_PATH=DIR  install below it'
	@echo '  T=NAME                run the tests whose names contain it'
	@echo '  ALL=yes               run each test in all variants, as .ci/run does'

.PHONY: modules modules_install clippy extension clean test demo bench help
