namespace Ringfence.Cli.Tests;

/// <summary>Exit codes and messages of the command as a process.</summary>
public sealed class ProcessTests : IDisposable
{
    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(30);
    private readonly string _folder = Directory.CreateTempSubdirectory("ringfence-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void WrongUsageIsTwo()
    {
        (int code, string output, string error) = RingfenceProcess.Run("run", "--memory", "much");
        Assert.Equal((2, ""), (code, output));
        AssertOneLine("--memory", error);
    }

    [Fact]
    public void MoreProcessorsThanTheEngineHasIsWrongUsage()
    {
        (int code, string output, string error) = RingfenceProcess.Run("run", "--cpus", "255");
        Assert.Equal((2, ""), (code, output));
        AssertOneLine("--cpus", error);
    }

    [Fact]
    public void AMissingKernelIsThree() => AssertNotLoaded("no-such-file", "--kernel", Path.Combine(_folder, "no-such-file"));

    [Fact]
    public void AFolderIsThree() => AssertNotLoaded(_folder, "--kernel", _folder);

    [Fact]
    public void AnEmptyKernelIsThree() => AssertNotLoaded("empty", "--kernel", Make("empty", []));

    [Fact]
    public void WhatIsNoKernelIsThree() => AssertNotLoaded("notes", "--kernel", Make("notes", [.. Enumerable.Repeat((byte)'x', 5000)]));

    [Fact]
    public void AMissingInitrdIsThree() => AssertNotLoaded("no-initrd", "--kernel", BootSector([]), "--initrd", Path.Combine(_folder, "no-initrd"));

    [Fact]
    public void ASerialFileThatCannotBeIsThree() =>
        AssertNotLoaded("no-folder", "--kernel", BootSector([]), "--serial", $"file:{_folder}/no-folder/out");

    [Fact]
    public void ATraceFileThatCannotBeIsThree() =>
        AssertNotLoaded("no-folder", "--kernel", BootSector([]), "--trace", $"exits:{_folder}/no-folder/out");

    [Fact]
    public void APortThatIsTakenIsThree()
    {
        using var taken = new System.Net.Sockets.TcpListener(System.Net.IPAddress.Loopback, 0);
        taken.Start();
        string where = taken.LocalEndpoint.ToString()!;
        AssertNotLoaded($"--gdb: {where}: the port is in use", "--kernel", BootSector([0xFA, 0xF4]), "--gdb", where);
    }

    /// <summary>The guest waits for a debugger, and goes on when it has gone.</summary>
    [Fact]
    public void ADebuggerIsWaitedFor()
    {
        const string Said = "ringfence: waiting for a debugger on 127.0.0.1:";
        using var guest = new RingfenceProcess("run", "--kernel", BootSector([0xFA, 0xF4]), "--gdb", "127.0.0.1:0");
        var time = System.Diagnostics.Stopwatch.StartNew();
        while (!guest.Error.EndsWith('\n') && time.Elapsed < s_limit)
        {
            Thread.Sleep(10);
        }
        Assert.StartsWith(Said, guest.Error, StringComparison.Ordinal);
        int port = int.Parse(guest.Error.AsSpan(Said.Length), System.Globalization.CultureInfo.InvariantCulture);
        using (var debugger = new System.Net.Sockets.TcpClient())
        {
            debugger.Connect("127.0.0.1", port);
            debugger.GetStream().Write("$?#3f"u8);
            byte[] answer = new byte[17];
            debugger.GetStream().ReadExactly(answer);
            Assert.Equal("+$T05thread:1;#d7", System.Text.Encoding.ASCII.GetString(answer));
        }
        Assert.Equal(0, guest.WaitForExit(s_limit));
    }

    [Fact]
    public void HaltingForGoodIsZero()
    {
        (int code, string _, string error) = RingfenceProcess.Run("run", "--kernel", BootSector([0xFA, 0xF4])); // CLI; HLT
        Assert.Equal((0, ""), (code, error));
    }

    [Theory]
    [InlineData(0, 1)]
    [InlineData(5, 11)]
    [InlineData(0x7F, 255)]
    public void DebugExitIsTwiceAndOne(byte value, int expected)
    {
        // MOV AL, value; OUT 0xF4, AL; CLI; HLT
        (int code, string _, string error) = RingfenceProcess.Run("run", "--kernel", BootSector([0xB0, value, 0xE6, 0xF4, 0xFA, 0xF4]), "--debug-exit", "0xf4");
        Assert.Equal((expected, ""), (code, error));
    }

    [Fact]
    public void ATripleFaultIsFourAndAReport()
    {
        // XOR AX, AX; MOV DS, AX; LIDT [0x600] (limit 0); INT3
        (int code, string _, string error) = RingfenceProcess.Run("run", "--kernel", BootSector([0x31, 0xC0, 0x8E, 0xD8, 0x0F, 0x01, 0x1E, 0x00, 0x06, 0xCC]));
        Assert.Equal(4, code);
        Assert.Contains("triple fault", error, StringComparison.OrdinalIgnoreCase);
        Assert.Contains("rip", error, StringComparison.OrdinalIgnoreCase);
        Assert.DoesNotContain("   at ", error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(new byte[] { 0xEB, 0xFE })] // JMP $
    [InlineData(new byte[] { 0xFB, 0xF4, 0xEB, 0xFD })] // STI; HLT; JMP to HLT
    public void ATimeoutIs124(byte[] code)
    {
        (int exit, string _, string error) = RingfenceProcess.Run("run", "--kernel", BootSector(code), "--timeout", "500ms");
        Assert.Equal(124, exit);
        AssertOneLine("--timeout", error);
    }

    [Theory]
    [InlineData("INT")]
    [InlineData("TERM")]
    [InlineData("HUP")]
    public void ASignalIs130(string signal)
    {
        // MOV DX, 0x3F8; MOV AL, '#'; OUT DX, AL; JMP $
        using var process = new RingfenceProcess("run", "--kernel", BootSector([0xBA, 0xF8, 0x03, 0xB0, (byte)'#', 0xEE, 0xEB, 0xFE]));
        process.WaitFor("#", s_limit);
        process.Signal(signal);
        Assert.Equal(130, process.WaitForExit(s_limit));
    }

    [Fact]
    public void TheEndOfTheInputIsNotTheEndOfTheGuest()
    {
        // Wait for a byte (LSR bit 0), echo it, leave when it is '!': input that was sent before the end of the file still arrives.
        byte[] echo =
        [
            0xBA, 0xFD, 0x03, // MOV DX, 0x3FD
            0xEC, // IN AL, DX
            0xA8, 0x01, // TEST AL, 1
            0x74, 0xFB, // JZ to IN
            0xBA, 0xF8, 0x03, // MOV DX, 0x3F8
            0xEC, // IN AL, DX
            0xEE, // OUT DX, AL
            0x3C, (byte)'!', // CMP AL, '!'
            0x75, 0xEF, // JNE to the start
            0xFA, 0xF4, // CLI; HLT
        ];
        string kernel = BootSector(echo);
        using var process = new RingfenceProcess("run", "--kernel", kernel);
        string text = string.Concat(Enumerable.Range(0, 500).Select(number => number + " "));
        process.Send(text + "!");
        process.CloseInput();
        Assert.Equal(0, process.WaitForExit(s_limit));
        Assert.Equal(text + "!", process.Output);
    }

    [Fact]
    public void SerialGoesToAFileOrNowhere()
    {
        // MOV DX, 0x3F8; MOV AL, '#'; OUT DX, AL; CLI; HLT
        string kernel = BootSector([0xBA, 0xF8, 0x03, 0xB0, (byte)'#', 0xEE, 0xFA, 0xF4]);
        string file = Path.Combine(_folder, "serial");
        Assert.Equal((0, "", ""), RingfenceProcess.Run("run", "--kernel", kernel, "--serial", "file:" + file));
        Assert.Equal("#", File.ReadAllText(file));
        Assert.Equal((0, "", ""), RingfenceProcess.Run("run", "--kernel", kernel, "--serial", "none"));
        Assert.Equal((0, "#", ""), RingfenceProcess.Run("run", "--kernel", kernel));
    }

    [Fact]
    public void TheTextScreenIsShownAtTheEnd()
    {
        // MOV AX, 0xB800; MOV ES, AX; MOV WORD [ES:162], 0x07DB; CLI; HLT
        string kernel = BootSector([0xB8, 0x00, 0xB8, 0x8E, 0xC0, 0x26, 0xC7, 0x06, 0xA2, 0x00, 0xDB, 0x07, 0xFA, 0xF4]);
        (int code, string output, string error) = RingfenceProcess.Run("run", "--kernel", kernel, "--screen", "text");
        Assert.Equal((0, ""), (code, error));
        string edge = "+" + new string('-', 80) + "+";
        string empty = "|" + new string(' ', 80) + "|";
        string[] lines = output.Split('\n');
        Assert.Equal([edge, empty, "| █" + new string(' ', 78) + "|", empty], lines[..4]);
        Assert.Equal([empty, edge, ""], lines[25..]);
        Assert.Equal((0, "", ""), RingfenceProcess.Run("run", "--kernel", kernel, "--screen", "none"));
    }

    [Theory]
    [InlineData(124, new byte[] { 0xEB, 0xFE }, "--timeout", "500ms")] // JMP $
    [InlineData(4, new byte[] { 0x31, 0xC0, 0x8E, 0xD8, 0x0F, 0x01, 0x1E, 0x00, 0x06, 0xCC })] // LIDT [0x600] (limit 0); INT3
    public void TheTextScreenIsShownHoweverItEnds(int expected, byte[] code, params string[] more)
    {
        (int exit, string output, string _) = RingfenceProcess.Run(["run", "--kernel", BootSector(code), "--screen", "text", .. more]);
        Assert.Equal(expected, exit);
        Assert.Equal(27, output.Count(character => character == '\n'));
    }

    [Fact]
    public void StatisticsAndTraceTellOfExits()
    {
        // MOV AL, 1; OUT 0x80, AL; CLI; HLT
        string kernel = BootSector([0xB0, 0x01, 0xE6, 0x80, 0xFA, 0xF4]);
        string trace = Path.Combine(_folder, "trace");
        (int code, string _, string error) = RingfenceProcess.Run("run", "--kernel", kernel, "--stats", "--trace", "exits:" + trace);
        Assert.Equal(0, code);
        Assert.Matches(@"(?m)^guest instructions +[1-9]", error);
        Assert.Matches(@"(?m)^exits +[1-9]", error);
        Assert.Contains(File.ReadAllLines(trace), line => line.Contains("out", StringComparison.Ordinal) && line.Contains("80", StringComparison.Ordinal));
    }

    private void AssertNotLoaded(string name, params string[] arguments)
    {
        (int code, string output, string error) = RingfenceProcess.Run(["run", .. arguments]);
        Assert.Equal((3, ""), (code, output));
        AssertOneLine(name, error);
    }

    private static void AssertOneLine(string part, string error)
    {
        Assert.StartsWith("ringfence: ", error, StringComparison.Ordinal);
        Assert.Contains(part, error, StringComparison.Ordinal);
        Assert.Equal(1, error.Count(character => character == '\n'));
    }

    private string BootSector(byte[] code)
    {
        byte[] sector = new byte[512];
        code.CopyTo(sector, 0);
        sector[510] = 0x55;
        sector[511] = 0xAA;
        return Make("sector", sector);
    }

    private string Make(string name, byte[] contents)
    {
        string path = Path.Combine(_folder, name);
        File.WriteAllBytes(path, contents);
        return path;
    }
}
