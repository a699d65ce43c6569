using System.Text.Json;
using Ringfence.Engine.Kvm.Native;

namespace Ringfence.Engine.Kvm.Tests;

/// <summary>The state of the board's interrupt chips, to the kernel and back.</summary>
public sealed class ChipStateTests
{
    [Fact]
    public void ThePairComesBackAsItWent()
    {
        PicChipRegisters master = new()
        {
            Requests = 0x41, Mask = 0xB8, InService = 0x02, Inputs = 0x41, LevelTriggered = 0x20, HighestPriority = 3, VectorBase = 0x30, NeedsIcw4 = true, SpecialMask = true,
            ReadsInService = true,
        };
        PicChipRegisters slave = new() { Requests = 0x02, Mask = 0xFF, Inputs = 0x02, LevelTriggered = 0x02, VectorBase = 0x38, NeedsIcw4 = true, AutoEoi = true, SpecialFullyNested = true };
        With(holder =>
        {
            holder.LoadPair(master, slave);
            Assert.Equal((Text(master), Text(slave)), (Text(holder.SavePair().Master), Text(holder.SavePair().Slave)));
        });
    }

    /// <summary>One that nobody has initialized, one in the middle of it, and lines that changed while the pair was elsewhere.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(4)]
    public void InitializationGoesOnWhereItWas(byte expects)
    {
        PicChipRegisters chip = new() { Expects = expects, NeedsIcw4 = expects > 1 };
        With(holder =>
        {
            holder.SetPairInput(5, true);
            holder.LoadPair(chip, chip);
            Assert.Equal((Text(chip), Text(chip)), (Text(holder.SavePair().Master), Text(holder.SavePair().Slave)));
        });
    }

    [Fact]
    public void TheIoApicComesBackAsItWent()
    {
        const ulong Masked = 1 << 16;
        const ulong LevelAndRemoteIrr = 0xC000;
        ulong[] entries = [.. Enumerable.Range(0, 24).Select(i => Masked | ((ulong)i << 56) | (0x40u + (uint)i))];
        entries[9] = 0x0100_0000_0000_0031 | LevelAndRemoteIrr;
        With(holder =>
        {
            holder.SetIoApicPin(4, true);
            holder.LoadIoApic(new IoApicRegisters(0, 0x12, entries, 1 << 9));
            IoApicRegisters there = holder.SaveIoApic();
            Assert.Equal(entries, there.Entries);
            Assert.Equal((0, 0x12, 1U << 9), (there.Id, there.Select, there.Pins));
        });
    }

    private static void With(Action<IBoardChipHolder> test)
    {
        using KvmSystem system = KvmHost.Open();
        using KvmVmDescriptor vm = system.CreateVm();
        using KernelChip chip = new(vm, InterruptChip.Kernel, null, _ => { });
        test(chip);
    }

    private static string Text(object value) => JsonSerializer.Serialize(value);
}
