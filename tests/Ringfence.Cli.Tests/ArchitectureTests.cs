using System.Reflection;

namespace Ringfence.Cli.Tests;

/// <summary>The arrows of the house (docs/house.md): which room may use which. A new room or a new arrow is decided here first.</summary>
public sealed class ArchitectureTests
{
    private const string Prefix = "Ringfence.";

    private static readonly Dictionary<string, string[]> s_mayUse = new()
    {
        ["Host"] = [],
        ["Engine"] = ["Host"],
        ["Cpu"] = ["Host"],
        ["Devices"] = ["Host"],
        ["Firmware"] = ["Host"],
        ["Cpu.Translator"] = ["Cpu", "Host"],
        ["Engine.Software"] = ["Engine", "Cpu", "Cpu.Translator", "Host"],
        ["Engine.Kvm"] = ["Engine", "Engine.Software", "Cpu", "Cpu.Translator", "Host"],
        ["Machine"] = ["Engine", "Devices", "Firmware", "Host"],
        ["Debugging"] = ["Engine", "Host"],
        ["ringfence"] = ["Machine", "Debugging", "Engine.Software", "Engine.Kvm", "Engine", "Devices", "Firmware", "Host"],
    };

    public static TheoryData<string> Rooms => [.. s_mayUse.Keys];

    [Theory]
    [MemberData(nameof(Rooms))]
    public void UsesOnlyWhatItMay(string room)
    {
        string[] used = [.. Load(room).GetReferencedAssemblies()
            .Select(name => name.Name!)
            .Where(name => name.StartsWith(Prefix, StringComparison.Ordinal))
            .Select(name => name[Prefix.Length..])];
        Assert.Empty(used.Except(s_mayUse[room]));
    }

    [Fact]
    public void EveryRoomHasItsArrows()
    {
        string[] rooms = [.. Directory.GetFiles(AppContext.BaseDirectory, Prefix + "*.dll")
            .Select(Path.GetFileNameWithoutExtension)
            .Select(name => name![Prefix.Length..])
            .Where(name => !name.EndsWith(".Tests", StringComparison.Ordinal))];
        Assert.Empty(rooms.Except(s_mayUse.Keys));
        Assert.Empty(s_mayUse.Keys.Except(rooms).Except(["ringfence"]));
    }

    [Fact]
    public void TheMachineKnowsNoEngine() =>
        Assert.DoesNotContain(Load("Machine").GetReferencedAssemblies(), name => name.Name is "Ringfence.Cpu" or "Ringfence.Engine.Software" or "Ringfence.Engine.Kvm");

    private static Assembly Load(string room) => Assembly.Load(room == "ringfence" ? room : Prefix + room);
}
