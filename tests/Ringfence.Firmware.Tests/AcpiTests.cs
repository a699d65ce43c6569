using System.Diagnostics;
using System.Text;
using Ringfence.Firmware.Acpi;
using Ringfence.Host;

namespace Ringfence.Firmware.Tests;

public class AcpiTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(4)]
    [InlineData(BoardLayout.MaximumVcpus)]
    public void TablesAreFoundFromTheRsdpAndAddUp(int vcpus)
    {
        using var memory = new GuestMemory(1 << 20);
        Dictionary<string, byte[]> tables = Tables(memory, vcpus);
        Assert.Equal(["APIC", "DSDT", "FACP"], tables.Keys.Order(StringComparer.Ordinal));

        byte[] fadt = tables["FACP"];
        Assert.Equal(276, fadt.Length);
        Assert.Equal(9, BitConverter.ToUInt16(fadt, 46));
        Assert.Equal(0u, BitConverter.ToUInt32(fadt, 48));
        Assert.Equal(0x600u, BitConverter.ToUInt32(fadt, 56));
        Assert.Equal(0x604u, BitConverter.ToUInt32(fadt, 64));
        Assert.Equal(0x608u, BitConverter.ToUInt32(fadt, 76));
        Assert.Equal(0x620u, BitConverter.ToUInt32(fadt, 80));
        Assert.Equal([4, 2, 0, 4, 4], fadt[88..93]);
        Assert.Equal(0x32, fadt[108]);
        Assert.Equal(7, BitConverter.ToUInt16(fadt, 109));
        Assert.Equal(0x525u, BitConverter.ToUInt32(fadt, 112));
        Assert.Equal(0xCF9UL, BitConverter.ToUInt64(fadt, 120));
        Assert.Equal(6, fadt[128]);
        Assert.Equal(0x600UL, BitConverter.ToUInt64(fadt, 152));
        Assert.Equal(0x620UL, BitConverter.ToUInt64(fadt, 224));
        Assert.Equal(0x5343_4146u, memory.Read<uint>(BitConverter.ToUInt32(fadt, 36)));

        byte[] madt = tables["APIC"];
        Assert.Equal(0xFEE0_0000u, BitConverter.ToUInt32(madt, 36));
        Assert.Equal(44 + vcpus * 8 + 12 + 10 + 10 + 6, madt.Length);
        int overrides = 44 + vcpus * 8 + 12;
        Assert.Equal([2, 10, 0, 0, 2, 0, 0, 0, 0, 0, 2, 10, 0, 9, 9, 0, 0, 0, 0xD, 0], madt[overrides..(overrides + 20)]);
    }

    [Fact]
    public void TheCompilerTakesTheTablesApart()
    {
        const string Compiler = "iasl";
        string? iasl = (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':')
            .Select(d => Path.Combine(d, Compiler)).FirstOrDefault(File.Exists);
        Assert.SkipUnless(iasl is not null, Compiler + " (acpica-tools) is not installed");
        string directory = Directory.CreateTempSubdirectory().FullName;
        try
        {
            using var memory = new GuestMemory(1 << 20);
            var text = new StringBuilder();
            foreach ((string name, byte[] table) in Tables(memory, 12))
            {
                string path = Path.Combine(directory, name + ".aml");
                File.WriteAllBytes(path, table);
                string log = Run(iasl!, directory, "-d", path);
                Assert.DoesNotContain("rror", log.Replace("0 Errors", "", StringComparison.Ordinal), StringComparison.Ordinal);
                Assert.DoesNotContain("Warning", log, StringComparison.Ordinal);
                text.Append(File.ReadAllText(Path.ChangeExtension(path, ".dsl")));
            }
            string source = text.ToString();
            Assert.DoesNotContain("Invalid", source, StringComparison.Ordinal);
            Assert.Contains("Device (C00B)", source, StringComparison.Ordinal);
            Assert.Contains("EisaId (\"PNP0501\")", source, StringComparison.Ordinal);
            Assert.Contains("Memory32Fixed (ReadWrite,\n                    0xD0000000,", source.ReplaceLineEndings("\n"), StringComparison.Ordinal);
            Assert.Contains("Reset Register : [Generic Address Structure]", source, StringComparison.Ordinal);
            // What was taken apart compiles again without a complaint.
            string compiled = Run(iasl!, directory, "-p", Path.Combine(directory, "again"), Path.Combine(directory, "DSDT.dsl"));
            Assert.Contains("0 Errors, 0 Warnings", compiled, StringComparison.Ordinal);
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    private static Dictionary<string, byte[]> Tables(GuestMemory memory, int vcpus)
    {
        AcpiTables.Store(memory, vcpus, [new VirtioMmioDevice(0xD000_0000, 0x200, 16)]);
        ulong rsdp = BoardLayout.RsdpAddress;
        Assert.Equal("RSD PTR ", Encoding.ASCII.GetString(memory.Bytes(rsdp, 8)));
        Assert.Equal(0, Sum(memory.Bytes(rsdp, 20)));
        Assert.Equal(0, Sum(memory.Bytes(rsdp, 36)));
        byte[] rsdt = Table(memory, memory.Read<uint>(rsdp + 16));
        byte[] xsdt = Table(memory, memory.Read<ulong>(rsdp + 24));
        var tables = new Dictionary<string, byte[]>();
        for (int i = 0; i < (xsdt.Length - 36) / 8; i++)
        {
            ulong address = BitConverter.ToUInt64(xsdt, 36 + i * 8);
            Assert.Equal(address, BitConverter.ToUInt32(rsdt, 36 + i * 4));
            byte[] table = Table(memory, address);
            tables.Add(Encoding.ASCII.GetString(table, 0, 4), table);
        }
        tables.Add("DSDT", Table(memory, BitConverter.ToUInt64(tables["FACP"], 140)));
        return tables;
    }

    private static byte[] Table(GuestMemory memory, ulong address)
    {
        byte[] table = memory.Bytes(address, memory.Read<int>(address + 4));
        Assert.Equal(0, Sum(table));
        return table;
    }

    private static byte Sum(byte[] bytes) => bytes.Aggregate((byte)0, (sum, b) => (byte)(sum + b));

    private static string Run(string program, string directory, params string[] arguments)
    {
        var start = new ProcessStartInfo(program, arguments)
        {
            WorkingDirectory = directory,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        using Process process = Process.Start(start)!;
        Task<string> errors = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd() + errors.Result;
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, output);
        return output;
    }
}
