using Ringfence.Cpu.Models;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Tests.SystemLevel;

/// <summary>A processor has the instructions that its CPUID tells of, and no others (SDM 1 5.1.1; SDM 2 CPUID).</summary>
public sealed unsafe class InstructionSetTests
{
    [Theory]
    [InlineData("x86-64-v1", "F30FB8C1", 6)]      // popcnt
    [InlineData("max", "F30FB8C1", -1)]
    [InlineData("x86-64-v1", "480FC70E", 6)]      // cmpxchg16b [rsi]
    [InlineData("max", "480FC70E", -1)]
    [InlineData("x86-64-v1", "0F38F00E", 6)]      // movbe ecx, [rsi]
    [InlineData("max", "0F38F00E", -1)]
    [InlineData("x86-64-v1", "C4E270F2C2", 6)]    // andn
    [InlineData("max", "C4E270F2C2", -1)]
    [InlineData("max", "F0C4E270F2C2", 6)]        // lock andn
    [InlineData("x86-64-v1", "C4E27BF6C2", 6)]    // mulx
    [InlineData("max", "C4E27BF6C2", -1)]
    [InlineData("x86-64-v1", "660F38F6C1", 6)]    // adcx
    [InlineData("max", "660F38F6C1", -1)]
    [InlineData("max", "F30F38F6C1", -1)]         // adox
    [InlineData("max", "F20FD0C1", -1)]           // addsubps
    [InlineData("max", "DB0E", -1)]               // fisttp [rsi]
    [InlineData("max", "660F3800C1", -1)]         // pshufb
    [InlineData("x86-64-v1", "660F3800C1", 6)]
    [InlineData("max", "F20F38F1C1", -1)]         // crc32
    [InlineData("x86-64-v1", "F20F38F1C1", 6)]
    [InlineData("max", "660F3A40C1F1", -1)]       // dpps
    [InlineData("x86-64-v1", "660F3A40C1F1", 6)]
    [InlineData("max", "660F3A63C10C", -1)]       // pcmpistri
    [InlineData("x86-64-v1", "660F3A63C10C", 6)]
    [InlineData("max", "F20F79C1", -1)]           // insertq
    [InlineData("x86-64-v1", "F20F79C1", 6)]
    [InlineData("max", "660F38DCC1", -1)]         // aesenc
    [InlineData("x86-64-v1", "660F38DCC1", 6)]
    [InlineData("max", "660F3A44C100", -1)]       // pclmulqdq
    [InlineData("x86-64-v1", "660F3A44C100", 6)]
    [InlineData("max", "0F38CBC1", -1)]           // sha256rnds2
    [InlineData("x86-64-v1", "0F38CBC1", 6)]
    [InlineData("max", "660F38CFC1", -1)]         // gf2p8mulb
    [InlineData("x86-64-v1", "660F38CFC1", 6)]
    [InlineData("max", "0F01D0", 6)]              // xgetbv: CR4.OSXSAVE is clear
    [InlineData("max", "F30FAEC0", 6)]            // rdfsbase: CR4.FSGSBASE is clear
    [InlineData("x86-64-v1", "0F01C8", 6)]        // monitor
    [InlineData("max", "0F01C8", -1)]
    [InlineData("x86-64-v1", "0F01C9", 6)]        // mwait
    [InlineData("max", "0F01C9", -1)]             // nothing is monitored
    [InlineData("max", "C5F8570C24", 6)]          // vxorps
    [InlineData("x86-64-v1", "0FC7F0", 6)]        // rdrand
    [InlineData("max", "0FC7F0", -1)]
    [InlineData("x86-64-v1", "0FC7F8", 6)]        // rdseed
    [InlineData("max", "0FC7F8", -1)]
    [InlineData("x86-64-v1", "F30FC7F8", 6)]      // rdpid
    [InlineData("max", "F30FC7F8", -1)]
    [InlineData("x86-64-v1", "660FAE3E", 6)]      // clflushopt [rsi]
    [InlineData("max", "660FAE3E", -1)]
    [InlineData("max", "660FAE36", -1)]           // clwb [rsi]
    [InlineData("x86-64-v1", "0F01FC", 6)]        // clzero
    [InlineData("max", "0F01FC", -1)]
    [InlineData("max", "0F33", 13)]               // rdpmc
    [InlineData("max", "F30F09", -1)]             // wbnoinvd
    [InlineData("max", "0F01F9", -1)]             // rdtscp
    [InlineData("max", "F30F1EFA", -1)]           // endbr64: a hint
    [InlineData("max", "F3480F1EC8", -1)]         // rdsspq: likewise
    [InlineData("max", "0F0D0E", -1)]             // prefetchw
    [InlineData("max", "0F1806", -1)]             // prefetchnta
    [InlineData("x86-64-v1", "0FC70E", -1)]       // cmpxchg8b [rsi]
    [InlineData("x86-64-v1", "0F44C1", -1)]       // cmovz
    [InlineData("x86-64-v1", "660F6FC1", -1)]     // movdqa
    [InlineData("x86-64-v1", "0FAE06", -1)]       // fxsave [rsi]
    [InlineData("x86-64-v1", "0FAE3E", -1)]       // clflush [rsi]
    [InlineData("x86-64-v1", "F30F09", -1)]       // wbnoinvd is wbinvd
    public void InstructionsAreThereWhenAdvertised(string model, string hex, int vector)
    {
        using var guest = new Guest(GuestMode.Long, CpuModel.Find(model));
        guest.State->Gpr[6] = Guest.Data;
        Assert.Equal(vector, guest.Run(Convert.FromHexString(hex)).Vector);
    }

    /// <summary>SDM 2 TZCNT, LZCNT: processors without them ignore the prefix, and do BSF and BSR.</summary>
    [Fact]
    public void CountsAreScansWhereTheyAreMissing()
    {
        using var guest = new Guest(GuestMode.Long, CpuModel.X8664V1);
        guest.State->Gpr[1] = 0x10;
        Assert.Equal(-1, guest.Run(0xF3, 0x0F, 0xBC, 0xC1).Vector);
        Assert.Equal(4UL, guest.State->Gpr[0]);
        Assert.Equal(-1, guest.Run(0xF3, 0x0F, 0xBD, 0xC1).Vector);
        Assert.Equal(4UL, guest.State->Gpr[0]);
        guest.State->Gpr[1] = 0;
        guest.Run(0xF3, 0x0F, 0xBC, 0xC1);
        Assert.True(Flags.IsZero(guest.State));
    }

    /// <summary>SDM 2 CPUID: a leaf beyond the highest reports nothing of its own; leaf 0 names the highest.</summary>
    [Fact]
    public void LeavesAreWellFormed()
    {
        using var guest = new Guest(GuestMode.Long);
        Assert.Equal("AuthenticAMD", Vendor(guest, 0));
        Assert.Equal(0xDUL, guest.State->Gpr[0]);
        Assert.Equal("AuthenticAMD", Vendor(guest, 0x8000_0000));
        Assert.Equal(0x8000_001DUL, guest.State->Gpr[0]);
        guest.State->Gpr[0] = 0x8000_1234;
        guest.Run(0x0F, 0xA2);
        Assert.Equal(0UL, guest.State->Gpr[0] | guest.State->Gpr[1] | guest.State->Gpr[2] | guest.State->Gpr[3]);
    }

    private static string Vendor(Guest guest, uint leaf)
    {
        guest.State->Gpr[0] = leaf;
        guest.State->Gpr[1] = 0;
        guest.Run(0x0F, 0xA2);
        uint[] parts = leaf == 0 || leaf == 0x8000_0000
            ? [(uint)guest.State->Gpr[3], (uint)guest.State->Gpr[2], (uint)guest.State->Gpr[1]] : [];
        return string.Concat(parts.SelectMany(BitConverter.GetBytes).Select(b => (char)b));
    }
}
