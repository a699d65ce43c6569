using Iced.Intel;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.Models;
using Ringfence.Cpu.Tests.SystemLevel;

namespace Ringfence.Cpu.Tests.Vector;

/// <summary>A processor has the instructions that it tells of (SDM 1 5.1.1): whatever belongs to an advertised feature must be bound.</summary>
public sealed unsafe class BindingTests
{
    [Fact]
    public void EveryAdvertisedVectorInstructionIsBound()
    {
        using var guest = new Guest(GuestMode.Long);
        var set = new InstructionSet(CpuModel.Max);
        var binder = new Binder(guest.State, CpuModel.Max);
        Op op = default;
        var missing = new SortedSet<string>(StringComparer.Ordinal);
        int advertised = 0;
        foreach (Code code in Forms.Codes.Where(c => set[c] == Support.Present))
        {
            advertised++;
            foreach (Instruction form in Forms.Of([code], new Random(1)))
            {
                op = default;
                binder.Bind(form, &op, 0);
                if (binder.Refused)
                {
                    missing.Add($"{code}: {form}");
                }
            }
        }
        Assert.Empty(missing);
        Assert.Equal(Forms.Codes.Count, advertised);
    }
}
