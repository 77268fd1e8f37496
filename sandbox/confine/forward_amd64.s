#include "textflag.h"

// The kernel calls this with the signal's number in DI and restore as the return address.
TEXT onSignal(SB), NOSPLIT, $8-0
	MOVQ DI, 0(SP)
	CALL ·relay(SB)
	RET

// rt_sigreturn(2)
TEXT restore(SB), NOSPLIT|NOFRAME, $0-0
	MOVQ $15, AX
	SYSCALL
	INT  $3

// func handlers() (onSignal, restore uintptr)
TEXT ·handlers(SB), NOSPLIT, $0-16
	LEAQ onSignal(SB), AX
	MOVQ AX, onSignal+0(FP)
	LEAQ restore(SB), AX
	MOVQ AX, restore+8(FP)
	RET

// func bear(stack unsafe.Pointer) (pid, errno uintptr)
TEXT ·bear(SB), NOSPLIT, $8-24
	MOVQ $56, AX     // clone(2)
	MOVQ $0x4111, DI // CLONE_VFORK|CLONE_VM|SIGCHLD
	MOVQ stack+0(FP), SI
	XORL DX, DX
	XORL R10, R10
	XORL R8, R8
	SYSCALL
	TESTQ AX, AX
	JEQ  child
	MOVQ $0, errno+16(FP)
	JPL  parent
	NEGQ AX
	MOVQ AX, errno+16(FP)
	XORL AX, AX
parent:
	MOVQ AX, pid+8(FP)
	RET
child:
	CALL ·become(SB)
	INT  $3
