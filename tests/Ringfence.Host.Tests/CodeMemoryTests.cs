using System.Globalization;

namespace Ringfence.Host.Tests;

public sealed class CodeMemoryTests
{
    /// <summary>As the kernel has it, not as we asked for it.</summary>
    [Fact]
    public unsafe void WhatIsWrittenCanBeRunAndNoPageIsBoth()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "code is generated on Linux only");
        const int Size = 1 << 20;
        using CodeMemory memory = new(Size);
        for (int at = 0; at < Size; at += 4096)
        {
            memory.Write[at] = 0xC3;
            Assert.Equal(0xC3, memory.Execute[at]);
        }
        Assert.Equal("rw-", RightsOf((ulong)memory.Write, Size));
        Assert.Equal("r-x", RightsOf((ulong)memory.Execute, Size));
        memory.ReleaseWritten(0, Size);
        Assert.Equal(0xC3, memory.Execute[0]);
        Assert.Equal("r-x", RightsOf((ulong)memory.Execute, Size));
    }

    /// <summary>The rights of the one mapping that holds all of a range, the first three letters in /proc/self/maps.</summary>
    private static string RightsOf(ulong start, ulong size)
    {
        foreach (string line in File.ReadLines("/proc/self/maps"))
        {
            string[] words = line.Split(' ', '-');
            if (ulong.Parse(words[0], NumberStyles.HexNumber, CultureInfo.InvariantCulture) <= start
                && ulong.Parse(words[1], NumberStyles.HexNumber, CultureInfo.InvariantCulture) >= start + size)
            {
                return line.Split(' ')[1][..3];
            }
        }
        return "no mapping";
    }
}
