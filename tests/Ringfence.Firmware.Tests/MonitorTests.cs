using Ringfence.Firmware.Monitor;
using Ringfence.Host;

namespace Ringfence.Firmware.Tests;

public class MonitorTests
{
    [Fact]
    public void TheLoaderTakesTheMonitor()
    {
        using var memory = new GuestMemory(2 << 20);
        BootState state = GuestLoader.Load(memory, new LoadRequest { Kernel = EmbeddedGuest.CreateFile() });
        Assert.Equal(GuestKind.Multiboot, state.Kind);
        Assert.Equal(BootMode.Protected32, state.Mode);
        Assert.Equal(0x10_0040UL, state.Rip);
        byte[] image = EmbeddedGuest.Build();
        byte[] loaded = new byte[image.Length];
        Assert.True(memory.TryRead(0x10_0000, loaded));
        Assert.Equal(image, loaded);
    }

    [Fact]
    public void EveryCommandAnswersUnderQemu()
    {
        string output = RunUnderQemu("helpp\x7f\rmem\r\ncpuid\nticks\n\n  echo   one two\ntime\nnonsense\nhalt\n");
        Assert.StartsWith(EmbeddedGuest.Banner + "\r\n", output, StringComparison.Ordinal);
        Assert.Contains("\r\nringfence> helpp\b \b\r\nhelp ", output, StringComparison.Ordinal);
        Assert.Contains("0000000000100000-0000000003fdffff RAM\r\n", output, StringComparison.Ordinal);
        Assert.Contains("vendor AuthenticAMD\r\nbrand  QEMU Virtual CPU", output, StringComparison.Ordinal);
        Assert.Contains("leaf 1 eax ", output, StringComparison.Ordinal);
        Assert.Matches("ringfence> ticks\r\n[0-9]+\r\nringfence> \r\nringfence>   echo", output);
        Assert.Contains("echo   one two\r\none two\r\n", output, StringComparison.Ordinal);
        Assert.Matches("20[0-9]{2}-[01][0-9]-[0-3][0-9] [0-2][0-9]:[0-5][0-9]:[0-5][0-9]\r\n", output);
        Assert.Contains("unknown command", output, StringComparison.Ordinal);
        Assert.EndsWith("powering off\r\n", output, StringComparison.Ordinal);
    }

    [Fact]
    public void InputLongerThanEveryBufferIsNotLost()
    {
        string script = string.Concat(Enumerable.Range(0, 60).Select(i => $"echo number {i} of many\n")) + "halt\n";
        string output = RunUnderQemu(script);
        for (int i = 0; i < 60; i++)
        {
            Assert.Contains($"\r\nnumber {i} of many\r\n", output, StringComparison.Ordinal);
        }
    }

    private static string RunUnderQemu(string input)
    {
        string image = Path.GetTempFileName();
        try
        {
            File.WriteAllBytes(image, EmbeddedGuest.Build());
            return Qemu.Run(input, null, "-m", "64", "-kernel", image);
        }
        finally
        {
            File.Delete(image);
        }
    }
}
