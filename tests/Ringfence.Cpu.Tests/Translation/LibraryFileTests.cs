using Ringfence.Cpu.Tests.SystemLevel;
using Ringfence.Cpu.Translator;
using Ringfence.Cpu.Translator.Library;
using static Iced.Intel.AssemblerRegisters;
using Label = Iced.Intel.Label;

namespace Ringfence.Cpu.Tests.Translation;

/// <summary>Translations on disk: the next run takes them, and nothing that is in the file's place can do harm.</summary>
public sealed class LibraryFileTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("ringfence-library-").FullName;
    private readonly List<string> _complaints = [];

    private string TheFile => Directory.GetFiles(_folder).Single();

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void TheNextRunTranslatesNothing()
    {
        Assert.NotEqual(0, Run().Regions);
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, Allow(UnixFileMode.None));
        DateTime written = File.GetLastWriteTimeUtc(TheFile);
        TranslatorStatistics second = Run();
        Assert.Equal(0, second.Regions);
        Assert.NotEqual(0, second.Installed);
        // Nothing was new.
        Assert.Equal(written, File.GetLastWriteTimeUtc(TheFile));
        Assert.Empty(_complaints);
    }

    [Fact]
    public void WhatIsNewIsAddedToWhatThereIs()
    {
        Run(1);
        Assert.NotEqual(0, Run(2).Regions);
        Assert.Equal(0, Run(1).Regions);
        Assert.Equal(0, Run(2).Regions);
    }

    [Fact]
    public void WhatIsOfNoUseIsLeftOut()
    {
        Run(1);
        for (int variant = 2; variant < 9; variant++)
        {
            Run(variant);
        }
        Assert.NotEqual(0, Run(1).Regions);
    }

    [Fact]
    public void AFullFileKeepsWhatIsUsed()
    {
        Run(1);
        int limit = (int)new FileInfo(TheFile).Length + 100;
        using (TranslationLibrary library = new(_folder, limit))
        {
            for (int variant = 9; variant > 0; variant--)
            {
                Run(library, variant);
            }
        }
        Assert.InRange(new FileInfo(TheFile).Length, 1, limit);
        Assert.Equal(0, Run(1).Regions);
    }

    [Fact]
    public void WhatIsNewHasNoNameUntilItIsKept()
    {
        using (TranslationLibrary library = new(_folder))
        {
            Assert.NotEqual(0, Run(library, 1).Regions);
            Assert.Empty(Directory.GetFiles(_folder));
            // Another processor finds it all the same.
            Assert.Equal(0, Run(library, 1).Regions);
        }
        Assert.Single(Directory.GetFiles(_folder));
    }

    [Fact]
    public void FilesOfOtherVersionsDoNotPileUp()
    {
        for (int i = 0; i < 9; i++)
        {
            string other = Path.Combine(_folder, $"translations-{i}.bin");
            File.WriteAllText(other, "");
            File.SetLastWriteTimeUtc(other, DateTime.UnixEpoch.AddDays(i));
        }
        Run();
        Assert.Equal(["translations-6.bin", "translations-7.bin", "translations-8.bin"],
            Directory.GetFiles(_folder).Where(file => new FileInfo(file).Length == 0).Select(Path.GetFileName).Order(StringComparer.Ordinal));
        Assert.Equal(4, Directory.GetFiles(_folder).Length);
    }

    [Theory]
    [InlineData(UnixFileMode.GroupWrite)]
    [InlineData(UnixFileMode.OtherWrite)]
    public void AFileThatOthersMayWriteIsNotUsed(UnixFileMode others)
    {
        Run();
        Allow(others);
        Assert.NotEqual(0, Run().Regions);
        Assert.Contains("others", Assert.Single(_complaints), StringComparison.Ordinal);
        // In its place there is one of our own now.
        Assert.Equal(0, Run().Regions);
    }

    [Fact]
    public void ADamagedFileIsAsGoodAsNone()
    {
        Run();
        byte[] good = File.ReadAllBytes(TheFile);
        Random random = new(4);
        for (int i = 0; i < 150; i++)
        {
            byte[] bad = [.. good];
            switch (i % 3)
            {
                case 0:
                    bad[random.Next(bad.Length)] ^= (byte)(1 << random.Next(8));
                    break;
                case 1:
                    bad = bad[..random.Next(bad.Length)];
                    break;
                default:
                    random.NextBytes(bad.AsSpan(random.Next(bad.Length)));
                    break;
            }
            File.WriteAllBytes(TheFile, bad);
            // The result is compared with the interpreter's.
            Run();
        }
        File.WriteAllBytes(TheFile, []);
        Assert.NotEqual(0, Run().Regions);
    }

    [Fact]
    public void AnImageThatIsNoneIsRefused()
    {
        Run();
        byte[] file = File.ReadAllBytes(TheFile);
        Random random = new(5);
        int[] moves = new int[RegionImage.MaximumFields];
        byte[] to = new byte[BlockTranslator.Reserve];
        byte[] page = new byte[4096];
        const int RoutinesEnd = 1 << 16;
        // Images begin behind the header, which is this long.
        byte[] images = file[64..];
        int length = Enumerable.Range(1, images.Length).First(bytes => RegionImage.Read(images, bytes, RoutinesEnd) is not null);
        int taken = 0;
        for (int i = 0; i < 100_000; i++)
        {
            byte[] bytes = images[..length];
            for (int change = 1 + random.Next(3); change > 0; change--)
            {
                int at = random.Next(length / sizeof(int)) * sizeof(int);
                BitConverter.TryWriteBytes(bytes.AsSpan(at), random.Next(3) == 0 ? random.Next(int.MinValue, int.MaxValue) : BitConverter.ToInt32(bytes, at) + random.Next(-9, 10));
            }
            if (RegionImage.Read(bytes, length, RoutinesEnd) is { } image)
            {
                taken++;
                image.IsOf(page, moves);
                image.Place(to.AsSpan(0, image.Head.CodeBytes), 0, 0, 0, moves);
            }
        }
        // A change of what is only code is not for this to find.
        Assert.InRange(taken, 1, 99_999);
    }

    [Fact]
    public void AFolderThatCannotBeWrittenIsNoHindrance()
    {
        string file = Path.Combine(_folder, "file");
        File.WriteAllText(file, "");
        using (TranslationLibrary library = new(Path.Combine(file, "folder")))
        {
            Assert.NotEqual(0, Run(library, 1).Regions);
            // It is kept in memory.
            Assert.Equal(0, Run(library, 1).Regions);
        }
        Assert.Equal("", File.ReadAllText(file));
    }

    /// <summary>What of the file's use is allowed then.</summary>
    private UnixFileMode Allow(UnixFileMode more)
    {
        if (OperatingSystem.IsWindows())
        {
            return UnixFileMode.None;
        }
        UnixFileMode mode = File.GetUnixFileMode(TheFile) | more;
        File.SetUnixFileMode(TheFile, mode);
        return mode;
    }

    private TranslatorStatistics Run(int variant = 1)
    {
        using TranslationLibrary library = new(_folder) { Complaint = _complaints.Add };
        return Run(library, variant);
    }

    private static TranslatorStatistics Run(TranslationLibrary library, int variant)
    {
        using var both = new BothEngines(GuestMode.Long, EngineUnderTest.Eager with { Library = library });
        both.Run(a => Program(a, variant));
        return both.Statistics;
    }

    private static void Program(Iced.Intel.Assembler a, int variant)
    {
        Label loop = a.CreateLabel();
        a.mov(ecx, 100);
        a.mov(edi, (uint)Guest.Data);
        a.Label(ref loop);
        for (int i = 0; i < 4; i++)
        {
            Label over = a.CreateLabel();
            a.rol(eax, (byte)(variant + i));
            a.add(__dword_ptr[rdi + (i * 4)], eax);
            a.jc(over);
            a.xor(eax, 0x1234_5678);
            a.Label(ref over);
            a.inc(eax);
        }
        a.dec(ecx);
        a.jne(loop);
    }
}
