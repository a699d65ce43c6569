using System.ComponentModel;
using System.Diagnostics;
using System.Globalization;
using Iced.Intel;
using Ringfence.Machine;
using Ringfence.Tests;
using static Iced.Intel.AssemblerRegisters;

namespace Ringfence.Debugging.Tests;

/// <summary>Debian's gdb, as people use it, in batch mode.</summary>
public sealed class GdbTests
{
    private const uint Variable = GuestCode.Data + 0x40;

    [Fact]
    public void GdbDebugsAGuest()
    {
        using GuestCode code = new(a =>
        {
            Label again = a.CreateLabel();
            a.mov(rax, cr4);
            a.or(eax, 0x600);
            a.mov(cr4, rax);
            a.mov(esp, GuestCode.StackTop);
            a.mov(ebx, Variable);
            a.mov(rax, 0x4008_0000_0000_0000);
            a.movq(xmm0, rax);
            a.Place("loop", ref again);
            a.inc(__dword_ptr[rbx]);
            a.Place("after");
            a.nop();
            a.jmp(again);
        });
        using DebuggedMachine machine = new(code.Image.Spec() with { Cpus = 2 });
        string output = Gdb(
            "set pagination off",
            "set architecture i386:x86-64",
            $"target remote {machine.Server.EndPoint}",
            $"hbreak *{code["loop"]}",
            "continue",
            "info threads",
            "printf \"at %lx\\n\", $rip",
            "p $xmm0.v2_double[0]",
            "p $ymm0.v4_double[0]",
            "p $cr0",
            "x/i $rip",
            "delete",
            $"watch *(int *) {Variable}",
            "continue",
            "printf \"then %lx, variable %d\\n\", $rip, *(int *) " + Variable,
            "delete",
            $"awatch *(int *) {Variable}",
            "continue",
            "delete",
            $"break *{code["after"]}",
            "continue",
            "stepi",
            "printf \"stepped to %lx\\n\", $rip",
            "set var $rcx = 77",
            "p $rcx",
            "monitor cpus",
            "delete",
            "kill");
        Assert.Contains($"at {code["loop"]:x}", output, StringComparison.Ordinal);
        Assert.Contains("CPU 0 [running]", output, StringComparison.Ordinal);
        Assert.Contains("CPU 1 [waiting for SIPI]", output, StringComparison.Ordinal);
        Assert.Contains("$1 = 3", output, StringComparison.Ordinal);
        Assert.Contains(" = [ PE ET PG ]", output, StringComparison.Ordinal);
        Assert.Contains("incl   (%rbx)", output, StringComparison.Ordinal);
        Assert.Contains("Hardware watchpoint 2", output, StringComparison.Ordinal);
        Assert.Contains($"then {code["after"]:x}, variable 1", output, StringComparison.Ordinal);
        Assert.Contains("Hardware access (read/write) watchpoint 3", output, StringComparison.Ordinal);
        Assert.Contains($"stepped to {code["after"] + 1:x}", output, StringComparison.Ordinal);
        Assert.Contains("$2 = 3", output, StringComparison.Ordinal);
        Assert.Contains("$4 = 77", output, StringComparison.Ordinal);
        Assert.Contains("CPU 1: WaitingForSipi", output, StringComparison.Ordinal);
        Assert.Equal(MachineEndKind.Stopped, machine.WaitForEnd().Kind);
    }

    /// <summary>ZMM and opmask registers of a processor that has AVX-512.</summary>
    [Fact]
    public void GdbKnowsAvx512()
    {
        Assert.SkipUnless(EngineUnderTest.Create().CpuModels.Any(m => m.Name == "host" && m.Features.Any(f => f.Name == "avx512f")), "needs the translator, and a host with AVX-512");
        using GuestCode code = new(a =>
        {
            a.mov(rax, cr4);
            a.or(eax, 0x4_0600);
            a.mov(cr4, rax);
            a.xor(ecx, ecx);
            a.xor(edx, edx);
            a.mov(eax, 0xE7);
            a.xsetbv();
            a.mov(eax, 1234);
            a.vpbroadcastq(zmm20, rax);
            a.kmovw(k3, eax);
            a.Place("there");
            a.hlt();
        });
        using DebuggedMachine machine = new(code.Image.Spec() with { Cpu = "host" });
        string output = Gdb(
            "set pagination off",
            "set architecture i386:x86-64",
            $"target remote {machine.Server.EndPoint}",
            $"hbreak *{code["there"]}",
            "continue",
            "p $zmm20.v8_int64[7]",
            "p $k3",
            "p $ymm20.v4_int64[2]",
            "set var $k4 = 5",
            "p $k4",
            "kill");
        foreach (string line in new[] { "$1 = 1234", "$2 = 1234", "$3 = 1234", "$4 = 5" })
        {
            Assert.Contains(line, output, StringComparison.Ordinal);
        }
    }

    private static string Gdb(params string[] commands)
    {
        ProcessStartInfo start = new("gdb", ["-q", "-nx", "-batch", .. commands.SelectMany(c => new[] { "-ex", c })])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        Process process;
        try
        {
            process = Process.Start(start)!;
        }
        catch (Win32Exception)
        {
            Assert.Skip("gdb is not installed");
            return "";
        }
        using (process)
        {
            process.StandardInput.Close();
            Task<string> error = process.StandardError.ReadToEndAsync();
            string output = process.StandardOutput.ReadToEnd() + error.GetAwaiter().GetResult();
            Assert.True(process.WaitForExit(TimeSpan.FromSeconds(60)), output);
            TestContext.Current.TestOutputHelper?.WriteLine(string.Create(CultureInfo.InvariantCulture, $"gdb ended with {process.ExitCode}:\n{output}"));
            return output;
        }
    }
}
