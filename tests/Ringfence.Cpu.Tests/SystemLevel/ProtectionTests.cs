using Ringfence.Cpu.State;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Cpu.Tests.SystemLevel;

/// <summary>Descriptors, privilege levels, gates, virtual-8086 mode (SDM 3A chapters 5, 6; SDM 2 for the instructions).</summary>
public sealed unsafe class ProtectionTests
{
    private const ushort Test = Guest.Free;
    private const ushort Other = Guest.Free + 8;

    /// <summary>MOV to DS and SS (SDM 2 MOV).</summary>
    [Theory]
    [InlineData(false, 0xC093u, Test, -1, 0u)]
    [InlineData(false, 0xC013u, Test, 11, (uint)Test)]       // not present
    [InlineData(false, 0xC099u, Test, 13, (uint)Test)]       // code that cannot be read
    [InlineData(false, 0xC089u, Test, 13, (uint)Test)]       // a TSS
    [InlineData(false, 0xC093u, Test + 3, 13, (uint)Test)]   // RPL 3, DPL 0
    [InlineData(false, 0xC0F3u, Test + 3, -1, 0u)]
    [InlineData(false, 0xC093u, 0x1000, 13, 0x1000u)]        // beyond the table
    [InlineData(false, 0xC093u, 4, 13, 4u)]                  // no LDT
    [InlineData(false, 0xC093u, 3, -1, 0u)]                  // null
    [InlineData(true, 0xC093u, Test, -1, 0u)]
    [InlineData(true, 0xC091u, Test, 13, (uint)Test)]        // not writable
    [InlineData(true, 0xC013u, Test, 12, (uint)Test)]        // not present: #SS
    [InlineData(true, 0xC0F3u, Test, 13, (uint)Test)]        // DPL 3
    [InlineData(true, 0xC093u, Test + 1, 13, (uint)Test)]    // RPL 1
    [InlineData(true, 0xC093u, 0, 13, 0u)]                   // null
    public void LoadsOfSegmentRegisters(bool stack, uint attributes, int selector, int vector, uint error)
    {
        using var guest = new Guest(GuestMode.Protected32);
        guest.Describe(Test, 0, 0xF_FFFF, attributes);
        guest.State->Gpr[0] = (ulong)selector;
        Outcome outcome = guest.Run(0x8E, stack ? (byte)0xD0 : (byte)0xD8);
        Assert.Equal((vector, error), (outcome.Vector, outcome.Error));
    }

    [Fact]
    public void LoadingMarksTheDescriptorAccessed()
    {
        using var guest = new Guest(GuestMode.Protected32);
        guest.Describe(Test, 0, 0xF_FFFF, 0xC092);
        guest.State->Gpr[0] = Test;
        Assert.Equal(-1, guest.Run(0x8E, 0xD8).Vector);
        Assert.Equal(0x93, guest.Read<byte>(Guest.Gdt + Test + 5));
    }

    [Theory]
    [InlineData(0xC09Bu, 0, -1, 0u)]
    [InlineData(0xC01Bu, 0, 11, (uint)Test)]
    [InlineData(0xC093u, 0, 13, (uint)Test)]
    [InlineData(0xC0FBu, 0, 13, (uint)Test)]  // DPL 3 from level 0
    [InlineData(0xC0FFu, 0, 13, (uint)Test)]  // conforming, DPL above CPL
    [InlineData(0xC09Fu, 3, -1, 0u)]          // conforming: any RPL
    [InlineData(0xC09Bu, 3, 13, (uint)Test)]  // RPL above CPL
    public void FarJumpsToCode(uint attributes, int rpl, int vector, uint error)
    {
        using var guest = new Guest(GuestMode.Protected32);
        guest.Describe(Test, 0, 0xF_FFFF, attributes);
        guest.Place(0xD000, 0xF4);
        Outcome outcome = guest.Run(0xEA, 0, 0xD0, 0, 0, (byte)(Test + rpl), 0);
        Assert.Equal((vector, error), (outcome.Vector, outcome.Error));
        if (vector < 0)
        {
            Assert.Equal((uint)Test, guest.State->Cs.Selector);
        }
    }

    /// <summary>SDM 3A 5.8.5: a call through a gate to an inner level changes stacks and copies the parameters.</summary>
    [Fact]
    public void CallGatesCopyParametersToTheInnerStack()
    {
        using var guest = new Guest(GuestMode.Protected32);
        guest.Write(Guest.Gdt + Test, Guest.GateOf(Guest.Code32, 0xD000, 12, 3, 2));
        guest.Place(0xD000, 0xF4);
        guest.BecomeUser();
        Assert.Equal(-1, guest.Run([0x6A, 1, 0x6A, 2, 0x9A, 0, 0, 0, 0, (byte)(Test + 3), 0]).Vector);
        Assert.Equal(0u, guest.State->Cpl);
        Assert.Equal(Guest.InnerStackTop - 24, guest.State->Gpr[4]);
        Assert.Equal(
            [Guest.Code + 11, Guest.UserCode32, 2, 1, Guest.UserStackTop - 8, Guest.UserData],
            Enumerable.Range(0, 6).Select(i => guest.Stack(i)));
        // And back, dropping the parameters on both stacks.
        guest.Place(0xD000, 0xCA, 8, 0);
        guest.Place(Guest.Code + 11, 0x0F, 0x0B);
        guest.BecomeUser();
        Outcome outcome = guest.Start(Guest.Code);
        Assert.Equal((6, Guest.Code + 11), (outcome.Vector, outcome.Rip));
        Assert.Equal(Guest.UserStackTop, guest.Stack(3));
    }

    [Fact]
    public void AGateNeedsTheCallersLevel()
    {
        using var guest = new Guest(GuestMode.Protected32);
        guest.Write(Guest.Gdt + Test, Guest.GateOf(Guest.Code32, 0xD000, 12, 0));
        guest.BecomeUser();
        Outcome outcome = guest.Run([0x9A, 0, 0, 0, 0, (byte)(Test + 3), 0]);
        Assert.Equal((13, (uint)Test), (outcome.Vector, outcome.Error));
    }

    /// <summary>SDM 2 INT n: a bad stack in the TSS is #TS with its selector, EXT as the source says.</summary>
    [Theory]
    [InlineData(0, 10, 0u)]
    [InlineData(Guest.UserData, 10, (uint)(Guest.UserData & ~3))]
    [InlineData(Guest.Code32, 10, (uint)Guest.Code32)]
    public void ABadInnerStackIsInvalidTss(int selector, int vector, uint error)
    {
        using var guest = new Guest(GuestMode.Protected32);
        guest.Gate(0x80, Guest.Code32, (uint)Guest.Handlers + 0x800, dpl: 3);
        guest.Gate(10, Guest.Code32, (uint)Guest.Handlers + 0xA0);
        guest.Write(Guest.Tss + 8, (uint)selector);
        guest.BecomeUser();
        // #TS cannot be delivered either: the report tells.
        Assert.Equal(-2, guest.Run(0xCD, 0x80).Vector);
        Assert.Equal(10, vector);
        Assert.StartsWith($"#TS({error:x})", guest.Processor.ShutdownReport, StringComparison.Ordinal);
    }

    /// <summary>SDM 3A 5.8.6: a return outward makes data segments of inner levels null.</summary>
    [Fact]
    public void ReturningOutwardDropsInnerSegments()
    {
        using var guest = new Guest(GuestMode.Protected32);
        guest.State->Fs = guest.Load(Guest.UserData);
        guest.State->Gs = new SegmentRegister { Selector = 3, Attributes = SegmentAttributes.Unusable };
        guest.Place(Guest.Code + 0x100, 0x0F, 0x0B);
        Outcome outcome = guest.Run(a =>
        {
            a.push(Guest.UserData);
            a.push((int)Guest.UserStackTop);
            a.push(Guest.UserCode32);
            a.push((int)Guest.Code + 0x100);
            a.retf();
        });
        Assert.Equal((6, Guest.Code + 0x100), (outcome.Vector, outcome.Rip));
        Assert.False(guest.State->Ds.Usable);
        Assert.False(guest.State->Es.Usable);
        Assert.True(guest.State->Fs.Usable);
        Assert.Equal(0u, guest.State->Gs.Selector);
    }

    [Fact]
    public void ProbesTellWithoutFaulting()
    {
        using var guest = new Guest(GuestMode.Protected32);
        guest.Describe(Test, 0, 0x12345, 0xC0F3);
        guest.Describe(Other, 0, 0x12345, 0x4093);
        guest.BecomeUser();
        Assert.Equal(6, guest.Run(a =>
        {
            a.mov(eax, Test + 3);
            a.lar(ebx, eax);
            a.lsl(ecx, eax);
            a.verw(ax);
            a.setz(dl);
            a.mov(eax, Other);
            a.verr(ax);
            a.setz(dh);
            a.mov(esi, 7);
            a.lsl(esi, eax);
            a.ud2();
        }).Vector);
        CpuState* s = guest.State;
        Assert.Equal((0xC0_F300UL, 0x1234_5FFFUL, 1UL, 7UL), (s->Gpr[3], s->Gpr[1], s->Gpr[2] & 0xFFFF, s->Gpr[6]));
    }

    [Theory]
    [InlineData("0F00D0")] // lldt
    [InlineData("0F00D8")] // ltr
    [InlineData("0F0116")] // lgdt [rsi]
    [InlineData("0F01F0")] // lmsw
    [InlineData("0F22C0")] // mov cr0
    [InlineData("0F20C0")]
    [InlineData("0F21C0")] // mov from dr0
    [InlineData("0F06")]   // clts
    [InlineData("0F013E")] // invlpg
    [InlineData("0F30")]   // wrmsr
    [InlineData("0F32")]
    [InlineData("0F09")]   // wbinvd
    [InlineData("F4")]
    [InlineData("FA")]
    [InlineData("FB")]
    [InlineData("E680")]   // out
    [InlineData("6C")]     // insb
    [InlineData("0F01F8")] // swapgs
    [InlineData("480F07")] // sysretq
    public void PrivilegedInstructionsAreRefusedToUsers(string hex)
    {
        using var guest = new Guest(GuestMode.Long);
        guest.Write(Guest.Tss + 102, (ushort)0x1FF);
        guest.BecomeUser();
        Assert.Equal(new Outcome(13, 0, Guest.Code), guest.Run(Convert.FromHexString(hex)));
    }

    /// <summary>SDM 1 19.5.2: the I/O permission bitmap, a bit for each port, all of an access.</summary>
    [Theory]
    [InlineData(0x80, 1, -1)]
    [InlineData(0x81, 1, 13)]
    [InlineData(0x80, 2, 13)]
    [InlineData(0x7F, 2, -1)]
    public void TheBitmapGivesPorts(int port, int size, int vector)
    {
        using var guest = new Guest(GuestMode.Long);
        guest.State->Tr.Limit = 0x2FF;
        guest.Write(Guest.Tss + 0x200 + 0x10, (byte)2);
        guest.BecomeUser();
        guest.State->Gpr[2] = (ulong)port;
        Outcome outcome = guest.Run(size == 1 ? [0xEE, 0x0F, 0x0B] : [0x66, 0xEF, 0x0F, 0x0B]);
        Assert.Equal(vector < 0 ? 6 : vector, outcome.Vector);
        Assert.Equal(vector < 0 ? 1 : 0, guest.Bus.Written.Count);
    }

    [Fact]
    public void IoplGivesPortsAndTheInterruptFlag()
    {
        using var guest = new Guest(GuestMode.Long);
        guest.State->SystemFlags |= Flags.Iopl;
        guest.BecomeUser();
        Assert.Equal(6, guest.Run(0xFA, 0xFB, 0xE6, 0x80, 0x0F, 0x0B).Vector);
    }

    /// <summary>SDM 2 POPF: users change neither IOPL nor, above IOPL, IF; and no fault tells them.</summary>
    [Fact]
    public void PopfKeepsWhatUsersMayNotChange()
    {
        using var guest = new Guest(GuestMode.Long);
        guest.State->SystemFlags |= Flags.Interrupt;
        guest.BecomeUser();
        Outcome outcome = guest.Run(a =>
        {
            a.push((int)(Flags.Iopl | Flags.Direction));
            a.popfq();
            a.ud2();
        });
        Assert.Equal(Flags.Interrupt | Flags.Direction, guest.FrameFlags(outcome) & (Flags.Interrupt | Flags.Direction | Flags.Iopl));
    }

    /// <summary>SDM 3B 21.2: IRET with VM set enters virtual-8086 mode; an interrupt leaves it, with all segments on the stack.</summary>
    [Fact]
    public void ToVirtual8086AndBack()
    {
        using var guest = new Guest(GuestMode.Protected32);
        guest.Gate(0x21, Guest.Code32, (uint)Guest.Handlers + 0x210, dpl: 3);
        guest.Place(0x3_0010, 0x8C, 0xD8, 0xCD, 0x21); // mov ax, ds; int 21h at 3000:0010
        uint at = (uint)Guest.StackTop - 36;
        guest.State->Gpr[4] = at;
        foreach (uint value in (uint[])[0x10, 0x3000, Flags.Virtual8086 | Flags.Iopl | 2, 0xFFE, 0x2800, 1, 0x2345, 3, 4])
        {
            guest.Write(at, value);
            at += 4;
        }
        Assert.Equal(0x21, guest.Run(0xCF).Vector);
        Assert.Equal(0x2345, (ushort)guest.State->Gpr[0]);
        Assert.Equal(
            [0x14UL, 0x3000, Flags.Virtual8086 | Flags.Iopl | 2, 0xFFE, 0x2800, 1, 0x2345, 3, 4],
            Enumerable.Range(0, 9).Select(i => guest.Stack(i)));
        Assert.Equal(Guest.InnerStackTop - 36, guest.State->Gpr[4]);
        Assert.False(guest.State->Ds.Usable);
    }

    [Fact]
    public void FastSystemCallsGoAndComeBack()
    {
        using var guest = new Guest(GuestMode.Long);
        guest.State->Star = ((ulong)Guest.Code64 << 32) | ((ulong)(Guest.UserCode64 - 16) << 48);
        guest.State->LStar = 0xD000;
        guest.State->SFMask = Flags.Interrupt | Flags.Trap;
        guest.Place(0xD000, 0x48, 0x89, 0xC8, 0x48, 0x0F, 0x07); // mov rax, rcx; sysretq
        guest.State->SystemFlags |= Flags.Interrupt;
        guest.BecomeUser();
        Outcome outcome = guest.Run(0x0F, 0x05, 0x0F, 0x0B);
        Assert.Equal((6, Guest.Code + 2), (outcome.Vector, outcome.Rip));
        Assert.Equal(Guest.Code + 2, guest.State->Gpr[0]);
        Assert.Equal(((ulong)Guest.UserCode64, 3UL), (guest.Stack(1), guest.Stack(4) & 3));
        Assert.NotEqual(0UL, guest.FrameFlags(outcome) & Flags.Interrupt);
        guest.State->Efer &= ~1UL;
        guest.BecomeUser();
        Assert.Equal(new Outcome(6, 0, Guest.Code), guest.Start(Guest.Code));
    }

    [Fact]
    public void SysenterAndSysexit()
    {
        using var guest = new Guest(GuestMode.Protected32);
        guest.BecomeUser();
        Assert.Equal(new Outcome(13, 0, Guest.Code), guest.Run(0x0F, 0x34));
        guest.State->SysenterCs = Guest.Code32;
        guest.State->SysenterEip = 0xD000;
        guest.State->SysenterEsp = Guest.IstTop;
        guest.Place(0xD000, 0x89, 0xE0, 0xBA, 0, 0xE0, 0, 0, 0xB9, 0, 0xB0, 0, 0, 0x0F, 0x35);
        guest.Place(0xE000, 0x0F, 0x0B);
        guest.BecomeUser();
        Outcome outcome = guest.Start(Guest.Code);
        Assert.Equal((6, 0xE000UL), (outcome.Vector, outcome.Rip));
        Assert.Equal((Guest.IstTop, (ulong)(Guest.Code32 + 16) | 3, Guest.UserStackTop), (guest.State->Gpr[0], guest.Stack(1), guest.Stack(3)));
    }

    [Fact]
    public void SwapgsExchangesTheBases()
    {
        using var guest = new Guest(GuestMode.Long);
        guest.State->KernelGsBase = Guest.Data;
        guest.Write(Guest.Data + 8, 0x55UL);
        Assert.Equal(-1, guest.Run(a =>
        {
            a.swapgs();
            a.mov(rax, __qword_ptr.gs[8]);
        }).Vector);
        Assert.Equal(0x55UL, guest.State->Gpr[0]);
    }

    /// <summary>SDM 3A 2.5: combinations and bits that are refused.</summary>
    [Theory]
    [InlineData(0, 0x8000_0010UL)]        // PG without PE
    [InlineData(0, 0x2000_0011UL)]        // NW without CD
    [InlineData(0, 0x1_8001_0011UL)]      // above 32 bits
    [InlineData(0, 0x0001_0011UL)]        // no paging in 64-bit mode
    [InlineData(4, 0x600UL)]              // PAE off in long mode
    [InlineData(4, 0x4620UL)]             // SMXE, which there is not
    [InlineData(4, 0x8000_0620UL)]
    [InlineData(3, 1UL << 52)]
    [InlineData(8, 16UL)]
    public void ControlRegistersRefuseNonsense(int register, ulong value)
    {
        using var guest = new Guest(GuestMode.Long);
        guest.State->Gpr[0] = value;
        Outcome outcome = register == 8 ? guest.Run(0x44, 0x0F, 0x22, 0xC0) : guest.Run(0x0F, 0x22, (byte)(0xC0 + (register * 8)));
        Assert.Equal(new Outcome(13, 0, Guest.Code), outcome);
    }

    [Theory]
    [InlineData(0x1234_5678u, 0UL)]
    [InlineData(0xC000_0080u, 0UL)]              // LME off while paging
    [InlineData(0xC000_0080u, 0x1D01UL)]         // a bit that EFER does not have here
    [InlineData(0xC000_0082u, 1UL << 62)]        // non-canonical
    [InlineData(0x277u, 2UL)]                    // a memory type that there is not
    public void ModelSpecificRegistersRefuseNonsense(uint msr, ulong value)
    {
        using var guest = new Guest(GuestMode.Long);
        (guest.State->Gpr[1], guest.State->Gpr[0], guest.State->Gpr[2]) = (msr, (uint)value, value >> 32);
        Assert.Equal(new Outcome(13, 0, Guest.Code), guest.Run(0x0F, 0x30));
    }

    /// <summary>SDM 3A 10.8.5, 10.9: from real mode by protected mode to long mode, to compatibility mode, and all the way back.</summary>
    [Fact]
    public void ThroughAllModesAndBack()
    {
        using var guest = new Guest(GuestMode.Real);
        guest.State->GdtBase = Guest.Gdt;
        guest.State->GdtLimit = 0x7FF;
        guest.Describe(Guest.Free, 0, 0xFFFF, 0x009B);
        // 16-bit: set PE, far jump to 32-bit code.
        guest.Place(0xC000, 0x0F, 0x20, 0xC0, 0x0C, 0x01, 0x0F, 0x22, 0xC0, 0xEA, 0, 0xC1, 0x18, 0);
        guest.Assemble(0xC100, 32, 0xC100, a =>
        {
            a.mov(eax, Guest.FlatData);
            a.mov(ss, eax);
            a.mov(ds, eax);
            a.mov(eax, (uint)Guest.Tables);
            a.mov(cr3, eax);
            a.mov(eax, 0x20);
            a.mov(cr4, eax);
            a.mov(ecx, 0xC000_0080);
            a.mov(eax, 0x100);
            a.xor(edx, edx);
            a.wrmsr();
            a.mov(eax, 0x8000_0011);
            a.mov(cr0, eax);
            a.jmp(Guest.Code64, 0xC200);
        });
        guest.Assemble(0xC200, 64, 0xC200, a =>
        {
            a.mov(rbx, 0x1122_3344_5566_7788);
            a.push(Guest.Code32);
            a.push(0xC300);
            a.db(0x48, 0xCB);
        });
        guest.Assemble(0xC300, 32, 0xC300, a =>
        {
            a.mov(esi, ebx);
            a.mov(eax, 0x11);
            a.mov(cr0, eax);
            a.jmp(Guest.Free, 0xC400);
        });
        guest.Assemble(0xC400, 16, 0xC400, a =>
        {
            a.mov(eax, 0x10);
            a.mov(cr0, eax);
            a.db(0xEA, 0x00, 0xC5, 0x00, 0x00);
        });
        guest.Assemble(0xC500, 16, 0xC500, a =>
        {
            a.xor(ax, ax);
            a.mov(ss, ax);
            a.mov(di, 0x77);
            a.hlt();
        });
        Assert.Equal(-1, guest.Start(0xC000).Vector);
        CpuState* s = guest.State;
        Assert.Equal((0x5566_7788UL, 0x77UL, 0u), (s->Gpr[6], s->Gpr[7], s->Mode & (CodeMode.BitsMask | CodeMode.Protected)));
        Assert.Equal(0UL, s->Efer & 0x400);
    }
}
