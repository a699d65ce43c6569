using Ringfence.Cpu.Models;
using Ringfence.Cpu.Tests.SystemLevel;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Cpu.Tests.X87;

/// <summary>Opcode, instruction and data pointer (SDM 1 8.1.8, 8.1.9).</summary>
public sealed unsafe class X87PointerTests
{
    private const ulong Source = Guest.Data + 0x123 * 8;

    /// <summary>FOP and whether the data pointer moves, for every x87 encoding, as on the host.</summary>
    [Fact]
    public void TheOpcodeIsKeptAsOnTheHost()
    {
        Assert.SkipUnless(HostX87.IsAvailable, "needs an x86-64 Linux host to compare with");
        byte* image = stackalloc byte[108];
        byte* memory = stackalloc byte[128];
        var failures = new List<string>();
        using var machine = new X87Machine(64);
        for (int number = 0; number < 8 * 256; number++)
        {
            byte[] bytes = [(byte)(0xD8 + (number >> 8)), (byte)number];
            // Of the memory forms, [rsi]; environments and states come from elsewhere.
            bool usesMemory = bytes[1] < 0xC0;
            if ((usesMemory && (bytes[1] & 0xC7) != 6) || IsImage(bytes) || X87Codes.Decode(bytes).IsInvalid)
            {
                continue;
            }
            new Span<byte>(memory, 128).Clear();
            *(ushort*)memory = 0x37F;
            new Span<byte>(image, 108).Clear();
            *(ushort*)image = 0x37F;
            *(ushort*)(image + 8) = 0xFFFF;
            *(uint*)(image + 16) = 0x123_0000;
            using var host = new HostX87(bytes);
            host.Run(image, memory, 0x202);
            machine.State->X87.Initialize();
            machine.State->X87.Opcode = 0x123;
            machine.State->Gpr[6] = X87Machine.Data;
            machine.State->Gpr[0] = 0;
            *(ulong*)machine.At(X87Machine.Data) = 0x37F;
            Assert.True(machine.Run(bytes), machine.Fault);
            uint there = *(uint*)(image + 16) >> 16 & 0x7FF;
            bool moved = *(uint*)(image + 20) != 0;
            if (there != machine.State->X87.Opcode || moved != (machine.State->X87.DataPointer == X87Machine.Data))
            {
                failures.Add($"{Convert.ToHexString(bytes)}: host {there:x} {moved}, here {machine.State->X87.Opcode:x} {machine.State->X87.DataPointer:x}");
            }
        }
        Assert.True(failures.Count == 0, string.Join('\n', failures));
    }

    /// <summary>SDM 1 figure 8-9: the protected-mode environment has selectors; the data segment is that of the operand.</summary>
    [Fact]
    public void SelectorsAreThoseOfTheInstruction()
    {
        using var guest = new Guest(GuestMode.Protected32);
        guest.Describe(Guest.Free, 0x1000, 0xF_FFFF, 0xC093);
        guest.State->Fs = guest.Load(Guest.Free);
        guest.State->Gpr[5] = (ulong)Guest.StackTop - 16;
        guest.Processor.StateLoaded();
        Assert.Equal(-1, guest.Run(a =>
        {
            a.fninit();
            a.fld(__qword_ptr.fs[(uint)(Source - 0x1000)]);
            a.nop();
            a.fnclex();
            a.fnstenv(__[(uint)Guest.Data]);
            a.fadd(__dword_ptr[ebp]);
            a.fxch(st0, st1);
            a.fnstenv(__[(uint)Guest.Data + 64]);
        }).Vector);
        Assert.Equal(Guest.Code + 2, guest.Read<uint>(Guest.Data + 12));
        Assert.Equal(((uint)Guest.Code32, 0x505u), (guest.Read<ushort>(Guest.Data + 16), guest.Read<ushort>(Guest.Data + 18) & 0x7FFu));
        Assert.Equal(((uint)Source - 0x1000, Guest.Free), (guest.Read<uint>(Guest.Data + 20), guest.Read<ushort>(Guest.Data + 24)));
        Assert.Equal(0x1C9u, guest.Read<ushort>(Guest.Data + 64 + 18) & 0x7FFu);
        Assert.Equal(((uint)Guest.StackTop - 16, Guest.FlatData), (guest.Read<uint>(Guest.Data + 64 + 20), guest.Read<ushort>(Guest.Data + 64 + 24)));
    }

    /// <summary>SDM 1 figure 8-10: in real mode the pointers are linear.</summary>
    [Fact]
    public void RealModeSavesLinearPointers()
    {
        using var guest = new Guest(GuestMode.Real);
        guest.State->Ds = guest.State->Ds with { Selector = 0x2000, Base = 0x20000 };
        guest.State->Gpr[3] = 0x10;
        guest.Processor.StateLoaded();
        Assert.Equal(-1, guest.Run(a =>
        {
            a.fninit();
            a.fld(__dword_ptr[bx]);
            a.db(0x66);
            a.fnstenv(__[0x80]);
        }).Vector);
        Assert.Equal((ushort)(Guest.Code + 2), guest.Read<ushort>(0x20080 + 12));
        Assert.Equal(0x107u, guest.Read<uint>(0x20080 + 16) & 0x7FF);
        Assert.Equal((0x10, 0x2000u), (guest.Read<ushort>(0x20080 + 20), guest.Read<uint>(0x20080 + 24) & 0xFFFF000));
    }

    /// <summary>APM 2 11.4.4: AMD's processors save the pointers with FXSAVE if an exception waits, and zeros if not. Intel's always (SDM 1 10.5.1).</summary>
    [Theory]
    [InlineData("AuthenticAMD", 0x37F, false)]
    [InlineData("AuthenticAMD", 0x37B, true)]
    [InlineData("GenuineIntel", 0x37F, true)]
    public void FxsaveSavesThePointersOfItsVendor(string vendor, ushort control, bool saved)
    {
        using var guest = new Guest(GuestMode.Long, CpuModel.Max with { Vendor = vendor });
        guest.Write(Guest.Data + 512, (ulong)control);
        guest.Write(Guest.Data + 520, 0UL);
        Assert.Equal(-1, guest.Run(a =>
        {
            a.fninit();
            a.fldcw(__word_ptr[Guest.Data + 512]);
            a.fld1();
            a.fdiv(__qword_ptr[Guest.Data + 520]);
            a.fxsave64(__[Guest.Data]);
            a.fnstenv(__[Guest.Data + 1024]);
        }).Vector);
        Assert.Equal(saved ? 0x434u : 0, guest.Read<ushort>(Guest.Data + 6) & 0x73Fu);
        Assert.Equal(saved, guest.Read<ulong>(Guest.Data + 8) != 0);
        Assert.Equal(saved ? Guest.Data + 520 : 0, guest.Read<ulong>(Guest.Data + 16));
        Assert.Equal((uint)Guest.Data + 520, guest.Read<uint>(Guest.Data + 1024 + 20));
    }

    /// <summary>FLDENV, FRSTOR, FNSTENV and FNSAVE, whose images are not here.</summary>
    private static bool IsImage(byte[] bytes) =>
        bytes[1] < 0xC0 && ((bytes[0] == 0xD9 && (bytes[1] >> 3 & 7) is 4 or 6) || (bytes[0] == 0xDD && (bytes[1] >> 3 & 7) is 4 or 6));
}
