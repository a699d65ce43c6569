using System.Globalization;
using Iced.Intel;
using Ringfence.Cpu.Tests.SystemLevel;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Cpu.Tests.Translation;

/// <summary>The file in which Linux's perf looks for the names of translated code.</summary>
public sealed unsafe class PerfMapTests
{
    [Fact]
    public void BlocksAndRoutinesHaveNames()
    {
        string name = $"/tmp/perf-{Environment.ProcessId}.map";
        try
        {
            // Two processors write to one file.
            using var first = new BothEngines(GuestMode.Long, EngineUnderTest.Eager with { PerfMap = true });
            using var second = new BothEngines(GuestMode.Protected32, EngineUnderTest.Eager with { PerfMap = true });
            first.Run(Loop);
            second.Run(Loop);
            (ulong Start, ulong Bytes, string Name)[] lines = [.. File.ReadLines(name).Select(line => line.Split(' ', 3)).Select(parts =>
                (ulong.Parse(parts[0], NumberStyles.HexNumber, CultureInfo.InvariantCulture),
                ulong.Parse(parts[1], NumberStyles.HexNumber, CultureInfo.InvariantCulture), parts[2]))];
            foreach (BothEngines both in (BothEngines[])[first, second])
            {
                ulong memory = (ulong)both.Translator.Memory.Execute;
                (ulong Start, ulong Bytes, string Name)[] own = [.. lines.Where(line => line.Start - memory < (ulong)both.Translator.Memory.Size)];
                string kind = both == first ? "64 system" : "32 system";
                Assert.Contains(own, line => line.Name.StartsWith("guest 0xc000+", StringComparison.Ordinal) && line.Name.EndsWith(kind, StringComparison.Ordinal));
                Assert.Contains(own, line => line.Name == "ringfence enter");
                Assert.Contains(own, line => line.Name == "ringfence site miss 8 write");
                // Nothing has two names, and all that was written has one.
                (ulong Start, ulong Bytes, string Name)[] inOrder = [.. own.OrderBy(line => line.Start)];
                for (int i = 1; i < inOrder.Length; i++)
                {
                    Assert.Equal(inOrder[i - 1].Start + inOrder[i - 1].Bytes, inOrder[i].Start);
                }
            }
        }
        finally
        {
            File.Delete(name);
        }
    }

    private static void Loop(Assembler a)
    {
        Label loop = a.CreateLabel();
        a.mov(ecx, 10);
        a.mov(edi, (uint)Guest.Data);
        a.Label(ref loop);
        a.add(__dword_ptr[edi], ecx);
        a.dec(ecx);
        a.jne(loop);
    }
}
