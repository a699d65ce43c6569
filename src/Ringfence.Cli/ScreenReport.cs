using Ringfence.Devices.Display;

namespace Ringfence.Cli;

/// <summary>What --screen text prints at the end: the screen in a frame.</summary>
internal static class ScreenReport
{
    public static void Write(TextScreen screen, TextWriter output)
    {
        if (screen.Rows == 0)
        {
            output.WriteLine("(the screen is in graphics mode, which is not shown)");
            return;
        }
        string edge = $"+{new string('-', screen.Columns)}+";
        output.WriteLine(edge);
        foreach (string line in screen.Lines)
        {
            output.WriteLine($"|{line}|");
        }
        output.WriteLine(edge);
    }
}
