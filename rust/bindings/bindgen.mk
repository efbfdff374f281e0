# SPDX-License-Identifier: GPL-2.0
#
# Runs bindgen the way the kernel's rust/Makefile does for its own bindings.
# That makefile is not included by external modules, so what it says is
# repeated here: the flags of GCC that libclang does not know, the target, and
# the options that make types match those of the `kernel` crate.

ifdef CONFIG_CC_IS_CLANG
xtcl_bindgen_c_flags = $(c_flags)
else
xtcl_bindgen_skip_c_flags := -mno-fp-ret-in-387 -mpreferred-stack-boundary=% \
	-mskip-rax-setup -mgeneral-regs-only -msign-return-address=% \
	-mindirect-branch=thunk-extern -mindirect-branch-register \
	-mfunction-return=thunk-extern -mrecord-mcount -mabi=lp64 \
	-mindirect-branch-cs-prefix -mstack-protector-guard% -mtraceback=no \
	-mno-pointers-to-nested-functions -mno-string \
	-mno-strict-align -mstrict-align -mdirect-extern-access \
	-mexplicit-relocs -mno-check-zero-division \
	-fconserve-stack -falign-jumps=% -falign-loops=% \
	-femit-struct-debug-baseonly -fno-ipa-cp-clone -fno-ipa-sra \
	-fno-partial-inlining -fplugin-arg-arm_ssp_per_task_plugin-% \
	-fno-reorder-blocks -fno-allow-store-data-races -fasan-shadow-offset=% \
	-fzero-call-used-regs=% -fno-stack-clash-protection \
	-fno-inline-functions-called-once -fsanitize=bounds-strict \
	-fstrict-flex-arrays=% -fmin-function-alignment=% \
	-fzero-init-padding-bits=% -mno-fdpic \
	-fdiagnostics-show-context -fdiagnostics-show-context=% \
	--param=% --param asan-% -fno-isolate-erroneous-paths-dereference \
	-ffixed-r2 -mmultiple -mno-readonly-in-sdata

XTCL_BINDGEN_TARGET_x86		:= x86_64-linux-gnu
XTCL_BINDGEN_TARGET_arm64	:= aarch64-linux-gnu
XTCL_BINDGEN_TARGET_riscv	:= riscv64-linux-gnu
XTCL_BINDGEN_TARGET_loongarch	:= loongarch64-linux-gnusf
XTCL_BINDGEN_TARGET		:= $(XTCL_BINDGEN_TARGET_$(SRCARCH))

xtcl_bindgen_c_flags = $(filter-out $(xtcl_bindgen_skip_c_flags), $(c_flags)) \
	-w --target=$(XTCL_BINDGEN_TARGET)
endif

xtcl_bindgen_c_flags_final = \
	$(filter-out $(CC_FLAGS_LTO), $(xtcl_bindgen_c_flags)) \
	-fno-builtin -D__BINDGEN__ -DMODULE

# Only people read the bindings' layout: where there is no rustfmt, bindgen would
# warn of it.
XTCL_BINDGEN_FORMATTER := $(if $(shell command -v rustfmt),rustfmt,none)

# `grep` takes the comments out, which bindgen would read as arguments.
quiet_cmd_xtcl_bindgen = BINDGEN $@
      cmd_xtcl_bindgen = \
	$(BINDGEN) $< $(shell grep -Ev '^\#|^$$' $(src)/rust/bindings/bindgen_parameters) \
		--rust-target 1.85 --use-core --with-derive-default \
		--ctypes-prefix ffi --no-layout-tests --no-doc-comments \
		--no-debug '.*' --enable-function-attribute-detection \
		--blocklist-type __kernel_s?size_t \
		--blocklist-type __kernel_ptrdiff_t \
		--formatter $(XTCL_BINDGEN_FORMATTER) \
		--opaque-type spinlock \
		--with-derive-custom-struct '.*=MaybeZeroable' \
		--with-derive-custom-union '.*=MaybeZeroable' \
		-o $@ -- $(xtcl_bindgen_c_flags_final)
